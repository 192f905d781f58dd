"""Both providers' batch APIs by their official SDKs, against the sandbox: submit, look, collect, find
again."""

import json
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from llm.providers.kinds.anthropic.message_batches import AnthropicBatches
from llm.providers.kinds.batch_api import (
    BatchApi,
    JobLine,
    JobOrder,
    JobState,
    NotCertainError,
    NotSubmittedError,
    TooLargeError,
    UpstreamError,
)
from llm.providers.kinds.openai.file_batches import OpenAIBatches
from tests.books import eventually
from tests.stack import Stack

KINDS = ("openai", "anthropic")


@pytest.fixture(scope="module")
def sandbox(home: Path) -> Iterator[Stack]:
    running = Stack(home, {})
    try:
        running.start_sandbox()
        yield running
    finally:
        running.stop()


@pytest.fixture
def api(sandbox: Stack) -> Callable[..., BatchApi]:
    key = f"sk-{uuid4().hex}"  # an account of its own for each test

    def make(kind: str, *, url: str = "") -> BatchApi:
        url = url or sandbox.sandbox_url
        if kind == "openai":
            return OpenAIBatches(base_url=f"{url}/v1", api_key=key)
        return AnthropicBatches(base_url=url, api_key=key)

    return make


def order_over(lines: Sequence[JobLine], *, path: str, most_bytes: int = 10**6) -> JobOrder:
    return JobOrder(
        public_id=f"job_{uuid4().hex}",
        path=path,
        lines=lambda: iter(lines),
        count=len(lines),
        has=lambda name: name in {line.name for line in lines},
        submitting_at=datetime.now(UTC),
        most_bytes=most_bytes,
    )


def order_for(kind: str, *, count: int = 3, tag: str = "", **facts: Any) -> JobOrder:
    model = "gpt-4o-mini" if kind == "openai" else "claude-haiku-4-5"
    return order_over(
        path="/chat/completions" if kind == "openai" else "/v1/messages",
        lines=[
            JobLine(
                name=str(uuid4()),
                body={
                    "model": model,
                    "max_tokens": 50,
                    "messages": [{"role": "user", "content": f"What is {number} plus 1? {tag}"}],
                },
            )
            for number in range(count)
        ],
        **facts,
    )


def nothing_is_taken(upstream_id: str) -> bool:
    return False


def wait_until_over(api: BatchApi, upstream_id: str) -> JobState:
    return eventually(lambda: api.look(upstream_id), until=lambda state: state.is_over)


def control(sandbox: Stack, path: str, body: Any) -> None:
    request = urllib.request.Request(f"{sandbox.control_url}/{path}", data=json.dumps(body).encode())
    urllib.request.urlopen(request, timeout=5).close()


@pytest.mark.parametrize("kind", KINDS)
def test_it_works(api, kind):
    order = order_for(kind)
    batches = api(kind)
    upstream_id = batches.submit(order, file_id=batches.upload(order))
    state = wait_until_over(batches, upstream_id)
    assert state.failure == ""
    results = {result.name: result for result in batches.results(upstream_id)}
    assert set(results) == {line.name for line in order.lines()}
    assert all(result.error is None and result.answer["usage"] for result in results.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_that_failed_says_why(api, kind):
    order = order_for(kind)
    lines = list(order.lines())
    bad = JobLine(name=str(uuid4()), body={**lines[0].body, "messages": []})
    order = order_over([*lines, bad], path=order.path)
    batches = api(kind)
    upstream_id = batches.submit(order, file_id=batches.upload(order))
    wait_until_over(batches, upstream_id)
    failed = [result for result in batches.results(upstream_id) if result.error]
    assert [result.name for result in failed] == [bad.name]
    assert failed[0].status == 400
    assert "messages" in failed[0].error["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_found_again_by_its_order(api, kind):
    order, other = order_for(kind), order_for(kind)
    batches = api(kind)
    for one in (other, order):
        upstream_id = batches.submit(one, file_id=batches.upload(one))
    wait_until_over(batches, upstream_id)
    assert batches.find(order, is_taken=nothing_is_taken) == upstream_id


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_was_never_submitted_is_not_found(api, kind):
    order, other = order_for(kind), order_for(kind)
    batches = api(kind)
    wait_until_over(batches, batches.submit(other, file_id=batches.upload(other)))
    with pytest.raises(NotSubmittedError):
        batches.find(order, is_taken=nothing_is_taken)


def test_an_anthropic_batch_that_could_be_ours_is_waited_for(api):
    order, other = order_for("anthropic"), order_for("anthropic")
    batches = api("anthropic")
    upstream_id = batches.submit(other, file_id="")
    with pytest.raises(NotCertainError):
        batches.find(order, is_taken=nothing_is_taken)
    with pytest.raises(NotSubmittedError):
        batches.find(order, is_taken=lambda one: one == upstream_id)


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_batch_is_not_looked_at(api, kind):
    order = order_for(kind)
    batches = api(kind)
    wait_until_over(batches, batches.submit(order, file_id=batches.upload(order)))
    later = replace(order, submitting_at=datetime.now(UTC) + timedelta(hours=1))
    if kind == "anthropic":
        with pytest.raises(NotSubmittedError):
            batches.find(later, is_taken=nothing_is_taken)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_job_ends_and_cancelling_again_is_no_failure(api, sandbox, kind):
    control(sandbox, "settings", {"batch_delay_s": 1.0})
    order = order_for(kind)
    batches = api(kind)
    try:
        upstream_id = batches.submit(order, file_id=batches.upload(order))
        batches.cancel(upstream_id)
        wait_until_over(batches, upstream_id)
        batches.cancel(upstream_id)
    finally:
        control(sandbox, "settings", {"batch_delay_s": 0.2})
    assert all(result.error["code"] == "batch_cancelled" for result in batches.results(upstream_id))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "may_have_arrived", "is_final"),
    [
        ("status:400", False, True),
        ("status:401", False, False),
        ("status:429", False, False),
        ("status:500", True, False),
        ("disconnect", True, False),
    ],
)
def test_a_failed_submission_says_whether_the_provider_can_have_it(
    api, sandbox, kind, fault, may_have_arrived, is_final
):
    order = order_for(kind)
    batches = api(kind)
    file_id = batches.upload(order)
    control(sandbox, "faults", {"match": {"path": "batches"}, "fault": fault})
    with pytest.raises(UpstreamError) as caught:
        batches.submit(order, file_id=file_id)
    assert (caught.value.may_have_arrived, caught.value.is_final) == (may_have_arrived, is_final)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_cannot_be_reached_has_nothing(api, kind):
    order = order_for(kind)
    with pytest.raises(UpstreamError) as caught:
        api(kind, url="http://127.0.0.1:9").submit(order, file_id="file-1")
    assert not caught.value.may_have_arrived


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_is_too_large_is_not_sent(api, sandbox, kind):
    order = order_for(kind, count=20, most_bytes=1_000)
    batches = api(kind)
    with pytest.raises(TooLargeError):
        batches.submit(order, file_id=batches.upload(order))
    with pytest.raises(NotSubmittedError):
        batches.find(order, is_taken=nothing_is_taken)
