"""Each way a provider fails: what the client sees, what the ledger says, and what the provider was called with."""

import json
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from config.running.embedded import free_port
from tests.api.conftest import ask, events_of, fresh_question, purser_of, turns
from tests.books import Books
from tests.world import Deployment, Member, World

IMPATIENT = {"connect": 0.2, "first_byte": 0.4, "idle": 0.4}


@dataclass
class Case:
    """A fault ordered for some calls, and how the attempts must end."""

    fault: str
    states: list[str]
    times: int = 1
    order: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.fault}{''.join(self.order)}"


RETRIED = [
    Case("status:429", ["voided", "captured"]),
    Case("status:429", ["voided", "captured"], order={"retry_after": 0.2}),
    Case("status:408", ["voided", "captured"]),
    Case("status:409", ["voided", "captured"]),
    Case("status:500", ["voided", "voided", "captured"], times=2),
    Case("overload", ["voided", "captured"]),
    Case("reset", ["estimated", "captured"]),
    Case("timeout", ["estimated", "captured"], order={"delay_ms": 1500}),
    Case("timeout", ["estimated", "captured"], order={"delay_ms": 1500, "billed": True}),
    Case("slow", ["estimated", "captured"], order={"delay_ms": 1500}),
]
RETRIED_WHOLE = [
    Case("disconnect", ["estimated", "captured"]),
    Case("truncate_stream", ["estimated", "captured"]),
    Case("malformed", ["estimated", "captured"]),
]
HARMLESS = [
    Case("slow", ["captured"], order={"delay_ms": 100}),
    Case("slow_first_byte", ["captured"], order={"delay_ms": 100}),
    Case("drip", ["captured"], order={"delay_ms": 5}),
]
BREAKING = ["disconnect", "truncate_stream", "malformed", "error_event"]


def check_books(
    books: Books, tenant_id: int, deployment: Deployment, states: list[str]
) -> list[dict[str, Any]]:
    """The attempts ended so, each call of the invoice stands in the ledger, and nothing is held any more."""
    attempts = books.settled(tenant_id, count=len(states))
    assert [attempt.state for attempt in attempts] == states
    assert [attempt.attempt_no for attempt in attempts] == list(range(1, len(states) + 1))
    calls = books.ended_calls(count=len(states), key=deployment.account_key)
    assert len(calls) == len(states)
    rows = {row.attempt_id: row for row in books.rows(tenant_id)}
    assert set(rows) == {attempt.id for attempt in attempts if attempt.state != "voided"}
    for attempt, call in zip(attempts, calls, strict=True):
        if attempt.state == "voided":
            assert call["billed"] == {}
        elif rows[attempt.id].usage_source == "provider":
            assert rows[attempt.id].upstream_id == call["request_id"]
            assert books.meters(rows[attempt.id]) == call["billed"]
        else:
            assert rows[attempt.id].reason
            assert rows[attempt.id].input_tokens >= call["billed"].get("input", 0)
            assert rows[attempt.id].billed_cost <= attempt.hold_usd
    books.check_windows(tenant_id)
    return calls


def stream_of(world: World, member: Member, model: str, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A stream read to its end, whatever that is: the response and its events."""
    with world.openai(member).chat.completions.with_streaming_response.create(
        model=model, messages=turns("Write 60 words. " + fresh_question()), stream=True, **options
    ) as response:
        return response, events_of("\n".join(response.iter_lines()))


@pytest.mark.parametrize("case", [*RETRIED, *RETRIED_WHOLE, *HARMLESS], ids=str)
def test_it_works(world: World, books: Books, member: Member, make_deployment, case: Case) -> None:
    """A call that fails before its answer is made again; each try is an attempt of its own."""
    deployment = make_deployment(timeouts=IMPATIENT)
    world.fault(fault=case.fault, match={"key": deployment.account_key}, times=case.times, **case.order)
    answer = ask(world.openai(member), model=deployment.model, max_tokens=60)
    assert answer.parse().choices[0].message.content
    check_books(books, member.id, deployment, case.states)
    log = books.log(purser_of(answer)["request_id"])
    assert log.status == 200
    assert len(log.receipt["attempts"]) == len(case.states)


@pytest.mark.parametrize(
    "case",
    [*RETRIED, *HARMLESS, Case("slow_first_byte", ["estimated", "captured"], order={"delay_ms": 1500})],
    ids=str,
)
def test_a_stream_is_tried_again_before_its_first_byte(
    world: World, books: Books, member: Member, make_deployment, case: Case
) -> None:
    deployment = make_deployment(timeouts=IMPATIENT)
    world.fault(fault=case.fault, match={"key": deployment.account_key}, times=case.times, **case.order)
    _, events = stream_of(world, member, deployment.model)
    assert "error" not in events[-1]
    assert events[-1]["purser"]["cost_usd"] > "0"
    check_books(books, member.id, deployment, case.states)


@pytest.mark.parametrize("fault", BREAKING)
def test_a_stream_that_breaks_ends_with_an_error_and_is_billed_for_what_came(
    world: World, books: Books, member: Member, make_deployment, fault: str
) -> None:
    deployment = make_deployment(timeouts=IMPATIENT)
    world.fault(fault=fault, match={"key": deployment.account_key}, after_chunks=6)
    response, events = stream_of(world, member, deployment.model)
    assert response.status_code == 200
    assert events[-1]["error"]["code"] == "provider_error"
    assert deployment.account_key not in json.dumps(events)
    (call,) = check_books(books, member.id, deployment, ["estimated"])
    (row,) = books.rows(member.id)
    assert 0 < row.output_tokens <= call["billed"]["output"]
    if fault in ("disconnect", "truncate_stream"):  # the others are billed to the answer's end
        assert row.output_tokens == call["billed"]["output"]
    assert books.log(row.request_id).error_code == "provider_error"
    assert events[-1]["purser"]["cost_usd"] == f"{row.billed_cost:.12f}"


def test_the_sdks_raise_what_a_stream_ends_with(world: World, member: Member, make_deployment) -> None:
    import anthropic

    deployment = make_deployment()
    world.fault(fault="disconnect", match={"key": deployment.account_key}, times=2, after_chunks=4)
    question = turns("Write 60 words. " + fresh_question())
    with pytest.raises(openai.APIError) as by_openai:
        list(
            world.openai(member).chat.completions.create(
                model=deployment.model, messages=question, stream=True
            )
        )
    assert by_openai.value.code == "provider_error"
    with (
        pytest.raises(anthropic.APIStatusError) as by_anthropic,
        world.anthropic(member).messages.stream(
            model=deployment.model, messages=question, max_tokens=200
        ) as stream,
    ):
        stream.get_final_message()
    assert by_anthropic.value.body["error"]["code"] == "provider_error"


def test_a_stream_that_stalls_ends_as_a_timeout(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment(timeouts=IMPATIENT)
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=1500)
    _, events = stream_of(world, member, deployment.model)
    assert events[-1]["error"]["code"] == "provider_timeout"
    check_books(books, member.id, deployment, ["estimated"])


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_usage_is_counted_and_says_so(
    world: World, books: Books, member: Member, make_deployment, stream: bool
) -> None:
    deployment = make_deployment()
    world.fault(fault="missing_usage", match={"key": deployment.account_key})
    if stream:
        stream_of(world, member, deployment.model)
    else:
        ask(world.openai(member), model=deployment.model, max_tokens=60)
    (call,) = check_books(books, member.id, deployment, ["estimated"])
    (row,) = books.rows(member.id)
    assert row.output_tokens == call["billed"]["output"]
    assert row.usage_source == "estimated"


def test_a_retry_waits_as_long_as_the_provider_asks(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(fault="status:429", match={"key": deployment.account_key}, retry_after=1)
    ask(world.openai(member), model=deployment.model, max_tokens=60)
    first, second = check_books(books, member.id, deployment, ["voided", "captured"])
    assert second["at"] - first["at"] >= 1  # by the provider's own clock


def test_a_provider_that_cannot_be_reached_owes_nothing(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment(base_url=f"http://127.0.0.1:{free_port()}/v1", timeouts=IMPATIENT)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(world.openai(member), model=deployment.model)
    assert (caught.value.status_code, caught.value.code) == (503, "provider_unavailable")
    assert deployment.account_key not in caught.value.response.text
    attempts = books.settled(member.id)
    assert {attempt.state for attempt in attempts} == {"voided"}
    assert books.rows(member.id) == []
    assert books.calls(key=deployment.account_key) == []
    books.check_windows(member.id)
    assert books.log(caught.value.response.headers["x-request-id"]).error_code == "provider_unavailable"


def test_a_stream_that_never_ends_is_ended(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    """Each pause is short enough, all of them together are not: the total timeout."""
    deployment = make_deployment(timeouts={"total": 1.0})
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=200)
    _, events = stream_of(world, member, deployment.model)
    assert events[-1]["error"]["code"] == "provider_timeout"
    (call,) = check_books(books, member.id, deployment, ["estimated"])
    (row,) = books.rows(member.id)
    assert 0 < row.output_tokens <= call["billed"]["output"]
    assert books.log(row.request_id).error_code == "provider_timeout"


def test_three_tries_are_all(world: World, books: Books, member: Member, make_deployment) -> None:
    deployment = make_deployment()
    world.fault(fault="status:500", match={"key": deployment.account_key}, times=-1)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(world.openai(member), model=deployment.model)
    assert (caught.value.status_code, caught.value.code) == (502, "provider_error")
    check_books(books, member.id, deployment, ["voided"] * 3)
    log = books.log(caught.value.response.headers["x-request-id"])
    assert [attempt["upstream_status"] for attempt in log.receipt["attempts"]] == [500] * 3


@pytest.mark.parametrize("status", [400, 404, 422])
def test_what_the_provider_refuses_is_not_tried_again(
    world: World, books: Books, member: Member, make_deployment, status: int
) -> None:
    deployment = make_deployment()
    world.fault(fault=f"status:{status}", match={"key": deployment.account_key}, times=-1)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(world.openai(member), model=deployment.model)
    assert 400 <= caught.value.status_code < 500
    check_books(books, member.id, deployment, ["voided"])


def test_a_bad_key_of_ours_is_not_told_as_the_clients(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(
        fault="status:401",
        message=f"Incorrect API key provided: {deployment.account_key}.",
        match={"key": deployment.account_key},
        times=-1,
    )
    with pytest.raises(openai.APIStatusError) as caught:
        ask(world.openai(member), model=deployment.model)
    assert (caught.value.status_code, caught.value.code) == (502, "provider_error")
    assert deployment.account_key not in caught.value.response.text
    log = books.log(caught.value.response.headers["x-request-id"])
    assert deployment.account_key not in json.dumps(log.receipt)


def test_a_fallback_answers_with_its_own_hold(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    second = make_deployment("anthropic")
    first = make_deployment(fallbacks=[second.model])
    world.fault(fault="status:500", match={"key": first.account_key}, times=-1)
    answer = ask(world.openai(member), model=first.model, max_tokens=60)
    block = purser_of(answer)
    assert (block["model"], answer.headers["x-purser-model"]) == (second.model, second.model)
    attempts = books.settled(member.id, count=4)
    assert [(attempt.model, attempt.state) for attempt in attempts] == [
        *[(first.model, "voided")] * 3,
        (second.model, "captured"),
    ]
    row = books.row(block["request_id"])
    assert (row.model, row.model_asked) == (second.model, first.model)
    books.check_invoice(member.id, books.calls(key=second.account_key))
    books.check_windows(member.id)


def test_a_deployment_that_keeps_failing_is_given_a_rest(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(fault="status:500", match={"key": deployment.account_key}, times=-1)
    client = world.openai(member)
    for _ in range(8):  # both workers learn it for themselves
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, model=deployment.model)
    assert caught.value.status_code in (502, 503)
    assert len(books.calls(key=deployment.account_key)) < 8 * 3
    assert {attempt.state for attempt in books.settled(member.id)} == {"voided"}


def test_faults_of_an_anthropic_provider(world: World, books: Books, member: Member, make_deployment) -> None:
    deployment = make_deployment("anthropic")
    for fault in ("overload", "status:429"):
        world.fault(fault=fault, match={"key": deployment.account_key})
    assert ask(world.openai(member), model=deployment.model, max_tokens=60).parse().choices
    check_books(books, member.id, deployment, ["voided", "voided", "captured"])


def test_a_broken_stream_of_an_anthropic_provider(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment("anthropic")
    world.fault(fault="disconnect", match={"key": deployment.account_key}, after_chunks=6)
    _, events = stream_of(world, member, deployment.model)
    assert events[-1]["error"]["code"] == "provider_error"
    (call,) = check_books(books, member.id, deployment, ["estimated"])
    (row,) = books.rows(member.id)
    assert row.input_tokens == call["billed"]["input"]  # told in the stream's first event
    assert row.output_tokens == call["billed"]["output"]


def test_a_claude_model_of_another_name_is_held_and_counted_as_claude(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment("anthropic")
    text = "Donaudampfschifffahrtsgesellschaft " * 200 + fresh_question()
    ask(world.openai(member), text, model=deployment.model, max_tokens=10)
    (attempt,) = books.settled(member.id)
    (call,) = books.calls(key=deployment.account_key)
    assert attempt.hold_tokens >= call["billed"]["input"] + 10
    books.check_invoice(member.id, [call])
