"""The client's `idempotency-key`: the same answer, one charge, in whatever process and however the first call ended."""

import contextlib
import http.client
import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import openai
import pytest

from tests.api.conftest import ask, fresh_question, turns
from tests.books import Books, eventually
from tests.stack import LOCAL, Stack
from tests.world import Member, World

KEY = "order-4711"
REPLAY = "x-purser-idempotent-replay"
LONG = "Write 300 words about rivers, number {}."


@dataclass
class Reply:
    """A raw answer: what an SDK would hide."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_replay(self) -> bool:
        return self.headers.get(REPLAY) == "true"


def post(
    world: World,
    body: dict[str, Any],
    *,
    key: str = KEY,
    path: str = "/v1/chat/completions",
    member: Member | None = None,
    base_url: str = "",
    headers: dict[str, str] | None = None,
) -> Reply:
    request = urllib.request.Request(
        f"{base_url or world.stack.base_url}{path}",
        data=json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {(member or world.acme).key}",
            "content-type": "application/json",
            "idempotency-key": key,
            **(headers or {}),
        },
    )
    try:
        with LOCAL.open(request, timeout=90) as response:
            return Reply(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.headers, error.read())


def chat(text: str = "", **options: Any) -> dict[str, Any]:
    return {
        "model": "gpt-4o-mini",
        "max_tokens": 60,
        "messages": turns(text or fresh_question()),
        **options,
    }


BODIES = {
    "/v1/chat/completions": lambda: chat(),
    "/v1/messages": lambda: {
        "model": "claude-haiku-4-5",
        "max_tokens": 60,
        "messages": turns(fresh_question()),
    },
    "/v1/responses": lambda: {"model": "gpt-4o-mini", "max_output_tokens": 60, "input": fresh_question()},
    "/v1/embeddings": lambda: {"model": "text-embedding-3-small", "input": fresh_question()},
}


def test_it_works(world: World, books: Books) -> None:
    body = chat()
    first, second = post(world, body), post(world, body)
    assert (first.status, second.status) == (200, 200)
    assert second.body == first.body
    assert (first.is_replay, second.is_replay) == (False, True)
    assert second.headers["x-request-id"] == first.headers["x-request-id"]
    assert second.headers["x-purser-cost-usd"] == first.headers["x-purser-cost-usd"]
    assert len(books.settled(world.acme.id)) == 1
    assert len(books.rows(world.acme.id)) == 1


@pytest.mark.parametrize(
    ("path", "stream"),
    [(path, stream) for path in BODIES for stream in (False, True) if path != "/v1/embeddings" or not stream],
)
def test_every_endpoint_answers_the_same_bytes_and_charges_once(
    world: World, books: Books, path: str, stream: bool
) -> None:
    body = BODIES[path]() | ({"stream": True} if stream else {})
    first = post(world, body, path=path)
    # a stream is kept when it has ended, which is a moment after its last byte
    second = post(world, body, path=path)
    assert first.status == 200
    assert (second.body, second.is_replay) == (first.body, True)
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["x-purser-cache"] == first.headers["x-purser-cache"]
    assert len(books.settled(world.acme.id)) == len(books.rows(world.acme.id)) == 1


def test_the_sdk_reads_a_replayed_stream(world: World, books: Books) -> None:
    body = chat(LONG.format(1), stream=True)

    def tell() -> str:
        stream = world.openai().chat.completions.create(**body, extra_headers={"idempotency-key": KEY})
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    assert tell() == tell() != ""
    assert len(books.rows(world.acme.id)) == 1


def test_another_body_is_refused_naming_the_header(world: World, books: Books) -> None:
    post(world, chat())
    reply = post(world, chat())
    assert reply.status == 400
    assert reply.json["error"]["code"] == "invalid_request"
    assert reply.json["error"]["param"] == "idempotency-key"
    assert len(books.rows(world.acme.id)) == 1


def test_the_order_of_a_bodys_fields_does_not_matter(world: World) -> None:
    body = chat()
    first = post(world, body)
    assert post(world, dict(reversed(body.items()))).body == first.body


def test_keys_are_told_apart_by_tenant_and_by_endpoint(world: World) -> None:
    body = chat()
    first = post(world, body)
    foreign = post(world, body, member=world.outsider)
    assert not foreign.is_replay
    assert foreign.headers["x-request-id"] != first.headers["x-request-id"]
    elsewhere = post(world, BODIES["/v1/responses"](), path="/v1/responses")
    assert (elsewhere.status, elsewhere.is_replay) == (200, False)


def test_another_api_key_of_the_tenant_has_keys_of_its_own(world: World, books: Books) -> None:
    from tenants.keys.editing import issue_key
    from tenants.models import Tenant

    _, clear = issue_key(Tenant.objects.get(pk=world.acme.id), name="second", models=["*"])
    body = chat()
    post(world, body)
    reply = post(world, body, member=Member(world.acme.slug, clear, world.acme.id))
    assert (reply.status, reply.is_replay) == (200, False)


def test_a_cached_answer_is_replayed_as_it_was_told(world: World, books: Books) -> None:
    body = chat(stream=True)
    post(world, body, key="a")
    hit = eventually(lambda: post(world, body, key="b"), until=lambda reply: reply.status == 200)
    assert hit.headers["x-purser-cache"] == "exact"
    assert post(world, body, key="b").body == hit.body
    assert len(books.rows(world.acme.id)) == 2


def test_twenty_at_once_in_two_servers_are_one_call(world: World, books: Books) -> None:
    process, other_url = world.stack.start_web(workers=2)
    try:
        body = chat(LONG.format(20))
        world.fault(fault="slow", match={"contains": LONG.format(20)}, delay_ms=700)
        urls = [world.stack.base_url, other_url] * 10
        with ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda url: post(world, body, base_url=url), urls))
    finally:
        process.stop()
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert sum(not reply.is_replay for reply in replies) == 1
    assert len(books.attempts(world.acme.id)) == len(books.rows(world.acme.id)) == 1


def test_a_refusal_leaves_the_key_free(world: World, make_tenant, books: Books) -> None:
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": 10, "mode": "hard"}]
    )
    body = chat()
    assert [post(world, body, member=member).json["error"]["code"] for _ in range(2)] == [
        "budget_exceeded",
        "budget_exceeded",
    ]
    from billing.models import Budget

    Budget.objects.filter(tenant_id=member.id).update(limit_amount=100_000)
    reply = post(world, body, member=member)
    assert (reply.status, reply.is_replay) == (200, False)


def test_a_call_that_owes_nothing_leaves_the_key_free(world: World, make_deployment, books: Books) -> None:
    deployment = make_deployment()
    world.fault(fault="status:400", match={"key": deployment.account_key}, times=1)
    body = chat(model=deployment.model)
    assert post(world, body).status == 400
    again = post(world, body)
    assert (again.status, again.is_replay) == (200, False)
    assert [attempt.state for attempt in books.settled(world.acme.id, count=2)] == ["voided", "captured"]


def test_a_failure_that_may_be_billed_is_told_again_and_not_tried_again(
    world: World, make_deployment, books: Books
) -> None:
    deployment = make_deployment()
    world.fault(fault="malformed", match={"key": deployment.account_key}, times=-1)
    body = chat(model=deployment.model)
    first = post(world, body)
    tries = len(books.settled(world.acme.id))
    second = post(world, body)
    assert first.status == second.status == 502
    assert second.is_replay
    assert second.headers["x-should-retry"] == "false"
    assert second.json["error"]["message"] == first.json["error"]["message"]
    assert len(books.attempts(world.acme.id)) == tries


def test_a_stream_whose_client_hangs_up_goes_on_and_is_there_for_the_retry(
    world: World, books: Books, make_deployment
) -> None:
    deployment = make_deployment()
    question = LONG.format(33)
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=60)
    body = chat(question, model=deployment.model, max_tokens=120, stream=True)
    stream = world.openai().chat.completions.create(**body, extra_headers={"idempotency-key": KEY})
    next(iter(stream))
    stream.close()
    reply = post(world, body)
    assert (reply.status, reply.is_replay) == (200, True)
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in reply.body
    (row,) = books.rows(world.acme.id)
    assert (row.usage_source, row.output_tokens) == ("provider", 120)


def lost(world: World, books: Books, stack: Stack, *, body: dict[str, Any]) -> None:
    """Send a call and kill the server that is answering it."""
    process, url = stack.start_web(workers=1)
    caller = threading.Thread(target=lambda: _ignore_errors(lambda: post(world, body, base_url=url)))
    caller.start()
    eventually(
        lambda: books.attempts(world.acme.id), until=lambda attempts: attempts and attempts[0].state == "sent"
    )
    process.stop(with_signal=9)
    caller.join()
    assert books.attempts(world.acme.id)[0].state == "sent"


def _ignore_errors(work: Any) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        work()


def end_lease(tenant_id: int) -> None:
    """Have the dead worker's lease run out."""
    from django.utils.timezone import now

    from llm.models import IdempotentCall

    IdempotentCall.objects.filter(tenant_id=tenant_id).update(leased_until=now() - timedelta(seconds=1))


def test_a_crash_is_told_honestly_once_it_is_settled(world: World, books: Books, make_deployment) -> None:
    from django.utils.timezone import now

    from billing.ledger.reaper import reap

    deployment = make_deployment()
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=100)
    body = chat(LONG.format(9), model=deployment.model, max_tokens=400, stream=True)
    lost(world, books, world.stack, body=body)
    end_lease(world.acme.id)
    reap(now() + timedelta(hours=1))
    (row,) = books.rows(world.acme.id)
    assert row.usage_source == "estimated"
    for _ in range(2):
        reply = post(world, body)
        assert (reply.status, reply.json["error"]["code"]) == (502, "provider_error")
        message = reply.json["error"]["message"]
        assert str(row.request_id) in message
        assert "an estimate" in message
        assert f"{row.billed_cost.normalize():f} USD" in message
        assert reply.is_replay
    assert len(books.attempts(world.acme.id)) == 1
    assert post(world, body, key="a new one").status == 200


def test_a_crash_that_owes_nothing_frees_the_key(world: World, books: Books, make_deployment) -> None:
    from django.utils.timezone import now

    from billing.ledger.reaper import reap
    from billing.models import Attempt

    deployment = make_deployment()
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=100)
    body = chat(LONG.format(10), model=deployment.model, max_tokens=400, stream=True)
    lost(world, books, world.stack, body=body)
    Attempt.objects.filter(tenant_id=world.acme.id).update(state="held")  # as if it had never gone out
    end_lease(world.acme.id)
    reap(now() + timedelta(hours=1))
    reply = post(world, body)
    assert (reply.status, reply.is_replay) == (200, False)
    assert [attempt.state for attempt in books.settled(world.acme.id, count=2)] == ["voided", "captured"]


def test_a_worker_that_lives_keeps_its_key(world: World, books: Books, make_deployment) -> None:
    """A claim whose attempt is still open is nobody else's, although its lease has run out."""
    deployment = make_deployment()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=1500)
    body = chat(model=deployment.model)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, world, body)
        eventually(lambda: books.attempts(world.acme.id))
        end_lease(world.acme.id)
        second = pool.submit(post, world, body)
        assert first.result().body == second.result().body
    assert len(books.attempts(world.acme.id)) == 1


def test_answers_are_forgotten_after_a_day(world: World, books: Books) -> None:
    from django.utils.timezone import now

    from llm.models import IdempotentCall
    from llm.pruning import prune_idempotent_calls

    body = chat()
    post(world, body)
    mine = IdempotentCall.objects.filter(tenant_id=world.acme.id)
    mine.update(created_at=now() - timedelta(hours=23))
    prune_idempotent_calls()
    assert post(world, body).is_replay
    mine.update(created_at=now() - timedelta(hours=25))
    assert not post(world, body, headers={"x-purser-cache": "off"}).is_replay  # free before it is pruned
    assert mine.count() == 1
    mine.update(created_at=now() - timedelta(hours=25))
    prune_idempotent_calls()
    assert mine.count() == 0


def test_a_replay_is_in_the_request_log_and_costs_nothing(world: World, books: Books) -> None:
    from llm.models import RequestLog

    body = chat()
    first = post(world, body)
    post(world, body)
    rows = eventually(
        lambda: list(RequestLog.objects.filter(tenant_id=world.acme.id).order_by("at")),
        until=lambda rows: len(rows) == 2,
    )
    assert rows[1].cost_usd == 0
    assert rows[1].receipt["steps"][0]["first_request_id"] == first.headers["x-request-id"]


def test_calls_without_the_header_leave_no_trace(world: World) -> None:
    from llm.models import IdempotentCall

    ask(world.openai())
    assert not IdempotentCall.objects.filter(tenant_id=world.acme.id).exists()


def test_the_key_is_not_sent_to_the_provider(world: World, make_deployment, books: Books) -> None:
    deployment = make_deployment()
    post(world, chat(model=deployment.model))
    assert [call["idempotency_key"] for call in books.calls(key=deployment.account_key)] == [""]


def test_a_header_that_is_too_long_is_refused(world: World) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(world.openai(), extra_headers={"idempotency-key": "x" * 256})
    assert refused.value.param == "idempotency-key"
