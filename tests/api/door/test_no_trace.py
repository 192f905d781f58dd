"""A call that never reached a provider leaves nothing behind: in no limiter, window, queue, flight, claim or budget."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from tests.api.conftest import ask, fresh_question, turns
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

LIMITS = {"rpm": 6000, "tpm": 50_000_000, "concurrency": 100}
MakeDeployment = Callable[..., Deployment]
SLICE_SECONDS, TEST_SECONDS = 5, 3  # rates are counted in slices of time: a new one has other bytes


@pytest.fixture(autouse=True)
def within_one_slice() -> None:
    if (left := SLICE_SECONDS - time.time() % SLICE_SECONDS) < TEST_SECONDS:
        time.sleep(left)


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis.from_url(os.environ["REDIS_URL"]) as client:
        yield client


@pytest.fixture
def member(make_tenant: Callable[..., Member]) -> Member:
    """Limits of every kind, and room for about 5,000 tokens."""
    limits = {"rpm": 1000, "tpm": 1_000_000, "concurrency": 10}
    return make_tenant(
        policy={"user_rate_limits": limits, "cache": {"exact": True, "semantic": "off"}},
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": 5000, "mode": "hard"}],
        rate_limits=limits,
        key={"rate_limits": limits},
    )


def kept(redis: Redis, member: Member, account: str = "-") -> dict[str, Any]:
    """What Redis keeps of a tenant and an account, byte for byte; but for what only counts refusals for people."""
    names = [name.decode() for name in redis.scan_iter("purser:*")]
    mine = (f"{{{member.id}}}", f"{{t{member.id}}}", f"{{{account}}}", f":{member.id}:")
    return {name: redis.dump(name) for name in sorted(names) if any(one in name for one in mine)}


def test_it_works(
    world: World, member: Member, make_deployment: MakeDeployment, redis: Redis, books: Books
) -> None:
    """Refused by a budget, again and again: others' calls to the account wait for nothing."""
    deployment = make_deployment(limits=LIMITS)
    ask(world.openai(member), max_tokens=5, user="alice")
    before = eventually(lambda: kept(redis, member), until=lambda found: not of_slots(redis, found))
    for _ in range(5):
        status, body = call(world, member, model=deployment.model, max_tokens=16_000)
        assert (status, body["error"]["code"]) == (429, "budget_exceeded")
    eventually(lambda: kept(redis, member, deployment.provider), until=lambda found: found == before)
    assert all(window.held == 0 for window in books.windows(member.id))
    ask(world.openai(world.outsider), model=deployment.model, max_tokens=5)


@pytest.mark.parametrize(
    ("declared", "body", "status", "code"),
    [
        ({"prices": []}, {}, 402, "model_unpriced"),
        ({"context_window": 50}, {"max_tokens": 5}, 400, "context_length_exceeded"),
        ({"kind": "anthropic"}, {"logit_bias": {"1": 2}}, 400, "invalid_request"),
        ({"base_url": "http://127.0.0.1:9/v1"}, {"max_tokens": 5}, 503, "provider_unavailable"),
        ({}, {"max_tokens": 2**31 - 1}, None, None),
        ({}, {"max_tokens": 16_000, "n": 100}, 429, "budget_exceeded"),
        ({}, {"max_tokens": 16_000, "stream": True}, 429, "budget_exceeded"),
    ],
    ids=["unpriced", "context", "untranslatable", "unreachable", "huge", "many", "streamed"],
)
def test_whatever_refuses_it(
    world: World,
    member: Member,
    make_deployment: MakeDeployment,
    redis: Redis,
    books: Books,
    declared: dict[str, Any],
    body: dict[str, Any],
    status: int | None,
    code: str | None,
) -> None:
    deployment = make_deployment(limits=LIMITS, **declared)
    found, answer = call(
        world, member, model=deployment.model, messages=turns(fresh_question() + " word" * 60), **body
    )
    if status:
        assert (found, answer["error"]["code"]) == (status, code)
    assert found >= 400
    eventually(lambda: kept(redis, member, deployment.provider), until=lambda left: left == {})
    assert all(window.held == 0 == window.spent for window in books.windows(member.id))


def test_a_wait_that_is_too_long(
    world: World, member: Member, make_deployment: MakeDeployment, redis: Redis
) -> None:
    deployment = make_deployment(limits={"rpm": 1})
    ask(world.openai(world.outsider), model=deployment.model, max_tokens=5)
    before = eventually(lambda: kept(redis, member, deployment.provider), until=bool)
    status, body = call(world, member, model=deployment.model, max_tokens=5)
    assert (status, body["error"]["code"]) == (503, "provider_unavailable")
    eventually(lambda: kept(redis, member, deployment.provider), until=lambda found: found == before)


def test_the_same_key_and_the_same_question_again_are_answered(
    world: World, member: Member, make_deployment: MakeDeployment
) -> None:
    """Neither the claim of an idempotency key nor the flight of the exact cache outlives a refused call."""
    deployment, messages = make_deployment(limits=LIMITS), turns(fresh_question())
    headers = {"idempotency-key": fresh_question().replace(" ", "-")}
    body = {"model": deployment.model, "messages": messages, "max_tokens": 16_000}
    for _ in range(2):
        began = time.monotonic()
        status, answer = world.request("POST", "/v1/chat/completions", body, member=member, headers=headers)
        assert (status, answer["error"]["code"]) == (429, "budget_exceeded")
        assert time.monotonic() - began < 20  # nobody waits for the first one's flight
    status, _ = world.request(
        "POST", "/v1/chat/completions", {**body, "max_tokens": 5}, member=member, headers=headers
    )
    assert status == 200


def test_a_second_call_that_is_not_afforded(
    world: World, make_tenant: Callable[..., Member], make_deployment: MakeDeployment, redis: Redis
) -> None:
    """A hedge takes a place and is refused by the budget: the account is left with what the first call took."""
    member = make_tenant(
        policy={"hedging": {"after_ms": 100, "max_percent": 50, "whole_answers": True}},
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": 900, "mode": "hard"}],
    )
    deployment = make_deployment(limits={"rpm": 20})  # each takes 3.3 s, two at once
    world.fault(fault="slow", delay_ms=1000, match={"key": deployment.account_key})
    began = time.time()
    ask(world.openai(member), model=deployment.model, max_tokens=600)
    asked_seconds = time.time() - began
    eventually(lambda: redis.zcard(f"{account_key(deployment)}:running") == 0)
    paid_until = float(redis.hget(account_key(deployment), "requests") or 0)  # type: ignore[arg-type]
    assert paid_until - began < asked_seconds + 4


def account_key(deployment: Deployment) -> str:
    return f"purser:provider:{{{deployment.provider}}}"


def of_slots(redis: Redis, found: dict[str, Any]) -> list[str]:
    return [name for name in found if "slots" in name]


def call(world: World, member: Member, **body: Any) -> tuple[int, dict[str, Any]]:
    content = {"messages": turns(fresh_question()), "user": "alice", **body}
    return world.request("POST", "/v1/chat/completions", content, member=member)
