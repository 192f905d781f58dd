"""A busy process takes shares of large limits in advance: few questions, no more than the limit, nothing left behind."""

import asyncio
import secrets
from typing import Any

import pytest

from config import resources
from config.redis_link import NoAnswer, RedisLink
from tenants.errors import RateLimitExceeded
from tenants.limits import leases
from tenants.limits import limiting as limits
from tenants.limits.counting import Counted, LimitScope, RedisWindows, counts_key, slots_key
from tenants.limits.leasing import LeasingWindows
from tenants.limits.limiting import Limiter, Slot
from tenants.policy import RateLimits
from tenants.principal import Principal

pytestmark = pytest.mark.usefixtures("loop_resources")

LARGE = RateLimits(rpm=600_000, tpm=600_000_000, concurrency=2_000)


def caller(tenant: RateLimits = LARGE, key: RateLimits = LARGE, tenant_id: int = 0) -> Principal:
    return Principal(
        tenant_id=tenant_id or secrets.randbelow(10**15),
        tenant_slug="acme",
        key_id=7,
        key_name="ci",
        key_public_id="abc",
        tenant_limits=tenant,
        key_limits=key,
        user_limits=RateLimits(),
    )


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's Redis is not gone."""
    monkeypatch.setattr(limits, "ANSWER_SECONDS", 60)


async def questions() -> int:
    """How many scripts Redis has run."""
    stats = await resources.redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def admitted(limiter: Limiter, principal: Principal, *, calls: int) -> list[Slot]:
    slots = []
    for _ in range(calls):
        try:
            slots.append(await limiter.acquire(principal, tokens=10))
        except RateLimitExceeded:
            continue
    return slots


async def until_nothing_is_counted(slot: Slot) -> None:
    names = [name for scope in slot.scopes for name in (counts_key(scope), slots_key(scope))]
    async with asyncio.timeout(20):
        while await resources.redis.exists(*names):
            await asyncio.sleep(0.02)


async def test_it_works() -> None:
    limiter, principal = Limiter(), caller()
    before = await questions()
    slots = await admitted(limiter, principal, calls=300)
    assert len(slots) == 300
    assert await questions() - before < 20
    assert await resources.redis.zcard(slots_key(slots[0].scopes[0])) >= 300
    left = slots[-1].requests_left
    assert left is not None
    assert 600_000 - 300 - leases.MOST_CALLS <= left.remaining <= 600_000 - 300  # the lease is not used
    for slot in slots:
        await limiter.take_back(slot)
    await until_nothing_is_counted(slots[0])


async def test_tokens_are_trued_up_with_the_end_of_the_lease() -> None:
    limiter, principal = Limiter(), caller()
    slots = await admitted(limiter, principal, calls=50)
    for slot in slots:
        await limiter.release(slot, tokens=25)
    async with asyncio.timeout(20):
        while await resources.redis.zcard(slots_key(slots[0].scopes[0])):
            await asyncio.sleep(0.02)
    (last,) = await admitted(Limiter(), principal, calls=1)
    assert last.tokens_left is not None
    assert last.tokens_left.remaining == 600_000_000 - 50 * 25 - 10
    assert last.requests_left is not None
    assert last.requests_left.remaining == 600_000 - 51


@pytest.mark.parametrize("small", [RateLimits(rpm=790), RateLimits(tpm=790), RateLimits(concurrency=79)])
async def test_small_limits_are_counted_call_by_call(small: RateLimits) -> None:
    before = await questions()
    assert len(await admitted(Limiter(), caller(key=small), calls=50)) == 50
    assert await questions() - before >= 50


async def test_processes_admit_exactly_the_limit() -> None:
    processes, principal = [Limiter() for _ in range(3)], caller(tenant=RateLimits(rpm=1_000))
    slots: list[Slot] = []
    async with asyncio.timeout(30):
        while len(slots) < 1_000:  # what one has leased and does not use comes back
            for limiter in processes:
                slots += await admitted(limiter, principal, calls=25)
            await asyncio.sleep(0.01)
    await asyncio.sleep(2 * leases.LEASE_SECONDS)
    assert not [slot for limiter in processes for slot in await admitted(limiter, principal, calls=3)]
    assert len(slots) == 1_000


async def test_a_key_that_is_refused_counts_nothing_for_its_tenant() -> None:
    limiter, tenant_id = Limiter(), secrets.randbelow(10**15)
    refused = caller(key=RateLimits(rpm=1), tenant_id=tenant_id)
    assert len(await admitted(limiter, refused, calls=30)) == 1
    (slot,) = await admitted(Limiter(), caller(tenant_id=tenant_id), calls=1)
    assert slot.requests_left is not None
    assert slot.requests_left.remaining == 600_000 - 2


async def test_leased_slots_of_running_calls_are_renewed() -> None:
    limiter, principal = Limiter(), caller()
    slots = await admitted(limiter, principal, calls=20)
    await asyncio.sleep(2 * leases.LEASE_SECONDS)
    name = slots_key(slots[0].scopes[0])
    now = (await resources.redis.time())[0]
    for member in await resources.redis.zrange(name, 0, -1):  # a minute goes by
        await resources.redis.zadd(name, {member: now + 0.5})
    await limiter.renew_slots()
    assert await resources.redis.zcount(name, now + 30, "+inf") == 20
    for slot in slots:
        await limiter.release(slot)


class LosesAnswers(RedisWindows):
    """The real windows; the answer gets lost on its way."""

    async def acquire(self, *arguments: Any, **named: Any) -> Any:
        await super().acquire(*arguments, **named)
        raise NoAnswer


async def test_the_slots_of_a_lease_whose_answer_got_lost_are_freed() -> None:
    scope = LimitScope("tenant", "tenant acme", f"{{{secrets.randbelow(10**15)}}}", LARGE)
    link: RedisLink = resources.redis_link
    windows = [RedisWindows(link)]
    leasing = LeasingWindows(lambda: windows[-1])
    for n in range(1, leases.LEAST_CALLS):
        assert isinstance(await leasing.acquire((scope,), slot_id=str(n), tokens=1), Counted)
    windows.append(LosesAnswers(link))
    with pytest.raises(NoAnswer):
        await leasing.acquire((scope,), slot_id="lost", tokens=1)
    assert await resources.redis.zcard(slots_key(scope)) == 2 * leases.LEAST_CALLS
    async with asyncio.timeout(20):
        while await resources.redis.zcard(slots_key(scope)) > leases.LEAST_CALLS:
            await asyncio.sleep(0.02)
