"""Bursts wait their turn at the provider's door, and no minute lets more through than the account may."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from config.redis_link import RedisLink
from llm.providers.account_limits import Limits, ProcessKeeper, RedisKeeper
from llm.providers.errors import ProviderUnavailable
from llm.providers.kinds import KINDS
from llm.providers.limiter import ProviderLimiter, ProviderSlot
from llm.providers.target import Target


def target(**limits: int) -> Target:
    name = uuid4().hex
    return Target(
        model="m", provider=name, kind=KINDS["openai"], base_url="", api_key="", upstream="m", limits=limits
    )


@pytest.fixture(params=["redis", "process"])
def keeper(request: pytest.FixtureRequest, link: RedisLink) -> RedisKeeper | ProcessKeeper:
    return RedisKeeper(link) if request.param == "redis" else ProcessKeeper()


@pytest.fixture
def limiter(keeper: Any) -> ProviderLimiter:
    return ProviderLimiter(shared=lambda: keeper)


async def test_it_works(limiter: ProviderLimiter) -> None:
    account = target(rpm=1000, tpm=100_000, concurrency=5)
    slots = [await limiter.acquire(account, tokens=100, tenant_id=1) for _ in range(5)]
    with pytest.raises(ProviderUnavailable):
        await limiter.acquire(account, tokens=100, tenant_id=1, patience_seconds=0.05)
    await limiter.release(slots[0], tokens=50)
    await limiter.release(slots[0], tokens=50)  # twice frees one place
    await limiter.acquire(account, tokens=100, tenant_id=1)
    with pytest.raises(ProviderUnavailable):
        await limiter.acquire(account, tokens=100, tenant_id=1, patience_seconds=0.05)


async def test_an_account_without_limits_costs_nothing() -> None:
    limiter = ProviderLimiter(shared=lambda: pytest.fail("asked for nothing"))
    await limiter.release(await limiter.acquire(target(), tokens=1, tenant_id=1), tokens=1)


async def test_both_keepers_decide_alike(keeper: Any) -> None:
    account, limits = uuid4().hex, Limits(rpm=60, tpm=6000)
    waits = [await keeper.take(account, limits, place=str(n), tokens=10) for n in range(7)]
    assert waits[:6] == [0.0] * 6
    assert waits[6] == pytest.approx(60 / 54, abs=0.2)
    account = uuid4().hex
    assert await keeper.take(account, limits, place="a", tokens=3000) == 0.0
    after_large = await keeper.take(account, limits, place="b", tokens=600)
    assert after_large == pytest.approx(3000 / 5400 * 60, abs=0.2)
    await keeper.give_back(account, limits, place="a", tokens=-3000)
    assert await keeper.take(account, limits, place="b", tokens=600) == 0.0


async def test_slots_at_one_time(keeper: Any) -> None:
    account, limits = uuid4().hex, Limits(concurrency=2)
    taken = [await keeper.take(account, limits, place=str(n), tokens=1) for n in range(3)]
    assert taken == [0.0, 0.0, -1.0]
    await keeper.give_back(account, limits, place="0", tokens=0)
    assert await keeper.take(account, limits, place="2", tokens=1) == 0.0


async def test_a_pause_holds_everyone(keeper: Any) -> None:
    account, limits = uuid4().hex, Limits(rpm=600)
    await keeper.pause(account, seconds=5)
    await keeper.pause(account, seconds=1)
    assert await keeper.take(account, limits, place="a", tokens=1) == pytest.approx(5, abs=0.2)


async def test_a_burst_queues_and_all_of_it_gets_through(limiter: ProviderLimiter) -> None:
    account = target(concurrency=3)
    running = most = 0

    async def one() -> None:
        nonlocal running, most
        slot = await limiter.acquire(account, tokens=1, tenant_id=1)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        await limiter.release(slot, tokens=1)

    await asyncio.gather(*(one() for _ in range(30)))
    assert most == 3


async def test_callers_are_served_in_turn(limiter: ProviderLimiter) -> None:
    account = target(concurrency=1)
    served: list[int] = []

    async def one(number: int) -> None:
        slot = await limiter.acquire(account, tokens=1, tenant_id=1)
        served.append(number)
        await limiter.release(slot, tokens=1)

    await asyncio.gather(*(one(number) for number in range(10)))
    assert served == list(range(10))


async def test_a_wait_that_is_too_long_is_refused_at_once_and_names_the_time(
    limiter: ProviderLimiter,
) -> None:
    account = target(rpm=1)
    await limiter.acquire(account, tokens=1, tenant_id=1)
    with pytest.raises(ProviderUnavailable) as caught:
        await limiter.acquire(account, tokens=1, tenant_id=1, patience_seconds=20)
    assert 55 < caught.value.retry_after <= 60
    assert not caught.value.sent


async def test_patience_ends_while_all_slots_are_taken(limiter: ProviderLimiter) -> None:
    account = target(concurrency=1)
    await limiter.acquire(account, tokens=1, tenant_id=1)
    with pytest.raises(ProviderUnavailable):
        await limiter.acquire(account, tokens=1, tenant_id=1, patience_seconds=0.1)


async def test_without_redis_each_process_counts_for_itself() -> None:
    away = RedisLink("redis://127.0.0.1:9/0")
    limiter = ProviderLimiter(shared=lambda: RedisKeeper(away))
    account = target(concurrency=1)
    slot = await limiter.acquire(account, tokens=1, tenant_id=1)
    with pytest.raises(ProviderUnavailable):
        await limiter.acquire(account, tokens=1, tenant_id=1, patience_seconds=0.1)
    await limiter.release(slot, tokens=1)
    await limiter.release(await limiter.acquire(account, tokens=1, tenant_id=1), tokens=1)
    await away.aclose()


async def test_two_processes_share_one_account(link: RedisLink) -> None:
    one, other = (ProviderLimiter(shared=lambda: RedisKeeper(link)) for _ in range(2))
    account = target(concurrency=1)
    slot = await one.acquire(account, tokens=1, tenant_id=1)
    with pytest.raises(ProviderUnavailable):
        await other.acquire(account, tokens=1, tenant_id=1, patience_seconds=0.1)
    await one.release(slot, tokens=1)
    await other.release(await other.acquire(account, tokens=1, tenant_id=1), tokens=1)


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 400)), max_size=60),
)
def test_no_minute_lets_more_than_the_limit_through(rpm: int, asked: list[tuple[float, int]]) -> None:
    now = 0.0
    keeper = ProcessKeeper(clock=lambda: now)
    limits = Limits(rpm=rpm, tpm=1000)
    through: list[tuple[float, int]] = []
    for number, (pause, tokens) in enumerate(asked):
        now += pause
        if asyncio.run(keeper.take("a", limits, place=str(number), tokens=tokens)) == 0.0:
            through.append((now, tokens))
    for began, _ in through:
        minute = [tokens for at, tokens in through if began <= at < began + 59.999]
        assert len(minute) <= rpm
        # a request larger than the burst of 100 may overdraw once, by what it is larger
        assert sum(minute) <= 1000 + max(0, max(minute) - 100)


async def test_a_place_is_kept_for_as_long_as_a_call_may_take() -> None:
    now = [0.0]
    keeper = ProcessKeeper(clock=lambda: now[0])
    limits = Limits.of({"concurrency": 1}, longest_call_seconds=3600)
    assert await keeper.take("account", limits, place="long", tokens=1) == 0.0
    for now[0], is_free in ((3600.0, False), (3661.0, True)):
        assert (await keeper.take("account", limits, place="next", tokens=1) == 0.0) == is_free


async def test_a_free_account_is_taken_without_waiting_and_a_full_one_says_how_long(
    limiter: ProviderLimiter,
) -> None:
    account = target(rpm=6)  # one at once, then one in twelve seconds
    assert isinstance(await limiter.try_acquire(account, tokens=1, tenant_id=1), ProviderSlot)
    wait = await limiter.try_acquire(account, tokens=1, tenant_id=1)
    assert isinstance(wait, float)
    assert 0 < wait <= 12


async def test_who_waits_already_is_not_overtaken(limiter: ProviderLimiter) -> None:
    account = target(concurrency=1)
    first = await limiter.acquire(account, tokens=1, tenant_id=1)
    waiting = asyncio.create_task(limiter.acquire(account, tokens=1, tenant_id=1))
    await asyncio.sleep(0.1)
    assert isinstance(await limiter.try_acquire(account, tokens=1, tenant_id=1), float)
    await limiter.release(first, tokens=1)
    async with asyncio.timeout(60):
        await limiter.release(await waiting, tokens=1)


async def kept_of(redis: Redis, account: str) -> dict[bytes, object]:
    """Everything that Redis keeps of an account, byte for byte."""
    return {
        name: await redis.dump(name)  # type: ignore[misc]
        for name in sorted([key async for key in redis.scan_iter(f"purser:provider:{{{account}}}*")])
    }


async def test_a_call_that_never_was_sent_leaves_nothing(redis: Redis, link: RedisLink) -> None:
    limiter = ProviderLimiter(shared=lambda: RedisKeeper(link))
    account = target(rpm=20, tpm=20_000, concurrency=5)
    slot = await limiter.acquire(account, tokens=1999, tenant_id=1)
    assert await kept_of(redis, account.provider)
    await limiter.take_back(slot)
    await limiter.take_back(slot)
    assert await kept_of(redis, account.provider) == {}
    await limiter.release(await limiter.acquire(account, tokens=700, tenant_id=1), tokens=901)
    before = await kept_of(redis, account.provider)
    await limiter.take_back(await limiter.acquire(account, tokens=777, tenant_id=1))
    assert await kept_of(redis, account.provider) == before != {}


async def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing(redis: Redis, link: RedisLink) -> None:
    limiter = ProviderLimiter(shared=lambda: RedisKeeper(link))
    account = target(rpm=1000, tpm=1_000_000, concurrency=1)
    first = await limiter.acquire(account, tokens=10, tenant_id=1)
    waiting = [asyncio.create_task(limiter.acquire(account, tokens=10, tenant_id=1)) for _ in range(3)]
    await asyncio.sleep(0.1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await limiter.take_back(first)
    assert await kept_of(redis, account.provider) == {}


class Forgetful:
    """A keeper whose answers get lost on their way."""

    def __init__(self, keeper: RedisKeeper) -> None:
        self._keeper = keeper
        self.loses = True

    async def take(self, *arguments: Any, **named: Any) -> float:
        wait = await self._keeper.take(*arguments, **named)
        if self.loses:
            raise TimeoutError
        return wait

    async def give_back(self, *arguments: Any, **named: Any) -> None:
        await self._keeper.give_back(*arguments, **named)

    async def pause(self, *arguments: Any, **named: Any) -> None:
        await self._keeper.pause(*arguments, **named)


async def test_a_place_whose_answer_got_lost_is_given_back_when_redis_is_there_again(
    redis: Redis, link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    away_seconds = 0.5
    monkeypatch.setattr("llm.providers.limiter.REDIS_AWAY_SECONDS", away_seconds)
    keeper = Forgetful(RedisKeeper(link))
    limiter = ProviderLimiter(shared=lambda: keeper)
    account = target(rpm=1000, tpm=1_000_000, concurrency=2)
    slot = await limiter.acquire(account, tokens=10, tenant_id=1)
    keeper.loses = False
    await limiter.release(slot, tokens=10)  # Redis counts as away
    await asyncio.sleep(away_seconds)
    again = await limiter.acquire(account, tokens=10, tenant_id=1)
    running = f"purser:provider:{{{account.provider}}}:running"
    async with asyncio.timeout(20):
        while await redis.zcard(running) > 1:
            await asyncio.sleep(0.01)
    await limiter.release(again, tokens=10)
    assert await redis.zcard(running) == 0


async def test_no_call_takes_more_than_a_minute_of_its_account(limiter: ProviderLimiter) -> None:
    account = target(tpm=1_000_000)
    slot = await limiter.acquire(account, tokens=2**31 - 1, tenant_id=1)
    assert slot.tokens == 1_000_000
    with pytest.raises(ProviderUnavailable) as caught:
        await limiter.acquire(account, tokens=100_000, tenant_id=1, patience_seconds=5)
    assert caught.value.retry_after < 75
    await limiter.release(slot, tokens=2**40)  # whatever the provider says it was
    with pytest.raises(ProviderUnavailable) as caught:
        await limiter.acquire(account, tokens=1, tenant_id=1, patience_seconds=5)
    assert caught.value.retry_after < 75


async def test_a_pause_that_a_provider_asks_for_is_bounded(keeper: Any) -> None:
    account, limits = uuid4().hex, Limits(rpm=600)
    await keeper.pause(account, seconds=86_400)
    assert await keeper.take(account, limits, place="a", tokens=1) <= 301


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=20), st.integers(1, 10**7))
def test_whatever_calls_take_the_next_one_waits_a_bounded_time(
    calls: list[tuple[int, int]], tpm: int
) -> None:
    keeper, limits = ProcessKeeper(clock=lambda: 1000.0), Limits(tpm=tpm)
    for number, (asked, took) in enumerate(calls):
        if asyncio.run(keeper.take("a", limits, place=str(number), tokens=asked)) == 0.0:
            asyncio.run(keeper.give_back("a", limits, place=str(number), tokens=took - asked))
    assert asyncio.run(keeper.take("a", limits, place="next", tokens=1)) <= 180
