"""Rates and concurrency: counted in every scope or in none, shared by all processes, local without Redis."""

import asyncio
import json
import secrets
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from config import resources
from config.redis_link import RedisLink
from tenants.errors import RateLimitExceeded
from tenants.limits import counting
from tenants.limits import limiting as limits
from tenants.limits.counting import Counted, LimitScope, ProcessWindows, RedisWindows, Refused
from tenants.limits.limiting import Limiter
from tenants.policy import RateLimits
from tenants.principal import Principal

pytestmark = pytest.mark.usefixtures("loop_resources")

_ids = iter(range(secrets.randbelow(10**15), 10**16))


@pytest.fixture
def redis_is_gone(loop_resources: None) -> None:
    """Point this process at a port where no Redis listens."""
    resources.redis_link = RedisLink("redis://127.0.0.1:1/0")


def caller(
    *,
    tenant: RateLimits | None = None,
    key: RateLimits | None = None,
    user: RateLimits | None = None,
    tenant_id: int = 0,
) -> Principal:
    return Principal(
        tenant_id=tenant_id or next(_ids),
        tenant_slug="acme",
        key_id=7,
        key_name="ci",
        key_public_id="abc",
        tenant_limits=tenant or RateLimits(),
        key_limits=key or RateLimits(),
        user_limits=user or RateLimits(),
    )


async def admitted(limiters: list[Limiter], principal: Principal, *, calls: int, tokens: int = 1) -> int:
    outcomes = await asyncio.gather(
        *(limiters[n % len(limiters)].acquire(principal, tokens=tokens) for n in range(calls)),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(outcome, RateLimitExceeded) for outcome in refused)
    return calls - len(refused)


async def test_it_works() -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(rpm=2, tpm=1000, concurrency=5))
    slot = await limiter.acquire(principal, tokens=100)
    assert slot.is_shared
    headers = slot.headers()
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-remaining-tokens"] == "900"
    assert slot.headers("anthropic")["anthropic-ratelimit-tokens-remaining"] == "900"
    await limiter.acquire(principal, tokens=100)
    with pytest.raises(RateLimitExceeded) as caught:
        await limiter.acquire(principal, tokens=100)
    assert "The limit of tenant acme is 2 requests per minute" in caught.value.message
    assert caught.value.retry_after_seconds is not None
    assert 1 <= caught.value.retry_after_seconds <= 65
    assert caught.value.headers["x-ratelimit-remaining-requests"] == "0"
    await limiter.release(slot)


async def test_nothing_limited_costs_no_call(redis_is_gone: None) -> None:
    limiter = Limiter()
    slot = await limiter.acquire(caller(), tokens=100)
    assert slot.headers() == {}
    await limiter.true_up(slot, tokens=200)
    await limiter.release(slot)
    assert not limiter.is_redis_away


@pytest.mark.parametrize(
    "limits_of_tenant",
    [RateLimits(rpm=37), RateLimits(tpm=37), RateLimits(concurrency=37)],
    ids=["rpm", "tpm", "conc"],
)
async def test_a_hundred_at_once_admit_exactly_the_limit(
    limits_of_tenant: RateLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_SECONDS", 60)  # a busy machine's Redis is not gone
    two_processes = [Limiter(), Limiter()]
    assert await admitted(two_processes, caller(tenant=limits_of_tenant), calls=100) == 37


async def test_a_refusal_by_one_scope_counts_in_none() -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(rpm=100), key=RateLimits(rpm=3))
    assert await admitted([limiter], principal, calls=10) == 3
    wider = caller(tenant=RateLimits(rpm=100), tenant_id=principal.tenant_id)
    slot = await limiter.acquire(wider, tokens=1)
    assert slot.requests_left is not None
    assert slot.requests_left.remaining == 96


async def test_each_user_has_a_limit_of_their_own() -> None:
    limiter, principal = Limiter(), caller(user=RateLimits(rpm=1))
    await limiter.acquire(principal, tokens=1, user="alice")
    await limiter.acquire(principal, tokens=1, user="bob")
    await limiter.acquire(principal, tokens=1)
    with pytest.raises(RateLimitExceeded, match="user alice"):
        await limiter.acquire(principal, tokens=1, user="alice")


async def test_tokens_are_trued_up_after_the_call() -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(tpm=1000))
    slot = await limiter.acquire(principal, tokens=900)
    with pytest.raises(RateLimitExceeded, match="tokens per minute"):
        await limiter.acquire(principal, tokens=900)
    await limiter.true_up(slot, tokens=50)
    slot = await limiter.acquire(principal, tokens=900)
    assert slot.tokens_left is not None
    assert slot.tokens_left.remaining == 50


async def test_the_end_of_a_call_trues_up_and_frees_in_one() -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(tpm=1000, concurrency=1))
    slot = await limiter.acquire(principal, tokens=900)
    await limiter.release(slot, tokens=50)
    await limiter.release(slot, tokens=0)
    slot = await limiter.acquire(principal, tokens=900)
    assert slot.tokens_left is not None
    assert slot.tokens_left.remaining == 50


async def test_a_call_larger_than_the_limit_is_told_not_to_come_back() -> None:
    with pytest.raises(RateLimitExceeded, match="this call alone needs 5,000 tokens") as caught:
        await Limiter().acquire(caller(tenant=RateLimits(tpm=1000)), tokens=5000)
    assert caught.value.retry_after_seconds is None
    assert caught.value.response_headers()["x-should-retry"] == "false"


async def test_a_slot_is_released_once_however_often_it_is_asked() -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(concurrency=2))
    first, _ = await limiter.acquire(principal, tokens=1), await limiter.acquire(principal, tokens=1)
    with pytest.raises(RateLimitExceeded, match="calls at one time"):
        await limiter.acquire(principal, tokens=1)
    await limiter.release(first)
    await limiter.release(first)
    assert await admitted([limiter], principal, calls=5) == 1


async def test_slots_of_a_crashed_process_free_themselves_and_renewed_ones_stay() -> None:
    crashed, alive = Limiter(), Limiter()
    principal = caller(tenant=RateLimits(concurrency=2))
    await crashed.acquire(principal, tokens=1)
    slot = await alive.acquire(principal, tokens=1)
    name = counting.slots_key(slot.scopes[0])
    now = (await resources.redis.time())[0]
    for member in await resources.redis.zrange(name, 0, -1):  # a minute goes by
        await resources.redis.zadd(name, {member: now + 0.05})
    await alive.renew_slots()
    await asyncio.sleep(0.06)
    assert await admitted([alive], principal, calls=5) == 1


async def test_without_redis_each_process_counts_in_microseconds(redis_is_gone: None) -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(rpm=50, concurrency=50))
    assert await admitted([limiter], principal, calls=60) == 50
    assert limiter.is_redis_away
    other = caller(tenant=RateLimits(rpm=50, concurrency=50))
    slot = await limiter.acquire(other, tokens=1)
    assert not slot.is_shared
    await limiter.true_up(slot, tokens=5)
    await limiter.release(slot)


async def test_redis_is_used_again_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROBE_SECONDS", 0.01)
    there, gone = resources.redis_link, RedisLink("redis://127.0.0.1:1/0")
    limiter, principal = Limiter(), caller(tenant=RateLimits(rpm=50))
    resources.redis_link = gone
    assert not (await limiter.acquire(principal, tokens=1)).is_shared
    resources.redis_link = there
    async with asyncio.timeout(5):
        while not (await limiter.acquire(principal, tokens=1)).is_shared:
            await asyncio.sleep(0.005)


async def test_flushing_redis_never_fails_a_call() -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(rpm=50, tpm=500, concurrency=5))
    slot = await limiter.acquire(principal, tokens=10)
    for scope in slot.scopes:
        await resources.redis.delete(counting.slots_key(scope), counting.counts_key(scope))
    await limiter.renew_slots()
    await limiter.true_up(slot, tokens=5)
    await limiter.release(slot)
    assert await admitted([limiter], principal, calls=10) == 5


@pytest.mark.parametrize("style", ["openai", "anthropic"])
async def test_a_refusal_has_the_headers_of_the_api_that_was_called(style: str) -> None:
    limiter, principal = Limiter(), caller(tenant=RateLimits(rpm=1))
    await limiter.acquire(principal, tokens=1)
    with pytest.raises(RateLimitExceeded) as caught:
        await limiter.acquire(principal, tokens=1, style=style)
    prefix = {"openai": "x-ratelimit-", "anthropic": "anthropic-ratelimit-"}[style]
    assert {name for name in caught.value.headers if "ratelimit" in name} == {
        *(
            {f"{prefix}{what}-requests" for what in ("limit", "remaining", "reset")}
            if style == "openai"
            else ()
        ),
        *(
            {f"{prefix}requests-{what}" for what in ("limit", "remaining", "reset")}
            if style == "anthropic"
            else ()
        ),
    }


@dataclass
class SetClock:
    """A clock that stands where a test sets it."""

    seconds: float

    def __call__(self) -> float:
        return self.seconds


SLICED = st.lists(st.integers(0, 4), min_size=counting.SLICES, max_size=counting.SLICES)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(used=SLICED, rpm=st.integers(1, 12), is_tokens=st.booleans())
async def test_a_wait_that_is_told_is_enough_and_the_same_in_redis_and_in_the_process(
    used: list[int], rpm: int, is_tokens: bool
) -> None:
    limited = RateLimits(tpm=rpm * 10) if is_tokens else RateLimits(rpm=rpm)
    scope = LimitScope("tenant", "tenant acme", f"{{{next(_ids)}}}", limited)
    seconds, micros = await resources.redis.time()
    now = seconds + micros / 1e6
    at = int(now // counting.SLICE_SECONDS)
    stored = {"at": at, "r": used, "t": [10 * count for count in used]}
    await resources.redis.set(counting.counts_key(scope), json.dumps(stored))
    shared = await RedisWindows(resources.redis_link).acquire((scope,), slot_id="a", tokens=10)
    clock = SetClock(now)
    local = ProcessWindows(clock=clock)
    unlimited = replace(scope, limits=RateLimits())
    for age in reversed(range(counting.SLICES)):
        clock.seconds = (at - age) * counting.SLICE_SECONDS
        for _ in range(used[age]):
            local.acquire((unlimited,), slot_id="before", tokens=10)
    clock.seconds = now
    answer = local.acquire((scope,), slot_id="a", tokens=10)
    assume(type(shared) is type(answer))  # Redis looked at its clock a moment later
    if isinstance(shared, Refused) and isinstance(answer, Refused):
        assert answer.meter == shared.meter
        assert answer.wait_seconds == pytest.approx(shared.wait_seconds, abs=1)
        assert 0 < answer.wait_seconds <= 65
        for wait, is_enough in ((answer.wait_seconds - 0.01, False), (answer.wait_seconds + 0.001, True)):
            clock.seconds = now + wait
            again = local.acquire((scope,), slot_id="b", tokens=10)
            assert is_enough is not isinstance(again, Refused)
    elif isinstance(shared, Counted) and isinstance(answer, Counted):
        assert answer.usages[0].requests == pytest.approx(shared.usages[0].requests, abs=0.5)
