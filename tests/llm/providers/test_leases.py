"""A busy process takes shares of an account in advance: few questions, no more through than the limit, nothing left behind."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.redis_link import NoAnswer, RedisLink
from llm.providers.account_limits import Limits, RedisKeeper, account_keys
from llm.providers.leases import LeasingKeeper
from tenants.limits import leases

LARGE = Limits(rpm=600_000, tpm=600_000_000, concurrency=2_000)


class Counting(RedisKeeper):
    """The real keeper, and how often it was asked."""

    asked = 0
    loses_answers = False

    async def take_more(self, *arguments: Any, **named: Any) -> tuple[float, list[str]]:
        self.asked += 1
        taken = await super().take_more(*arguments, **named)
        if self.loses_answers:
            raise NoAnswer
        return taken


def process(keeper: RedisKeeper) -> LeasingKeeper:
    return LeasingKeeper(lambda: keeper)


async def taken_by(keeper: LeasingKeeper, account: str, limits: Limits, *, calls: int) -> list[str]:
    """The calls that may go, of so many."""
    names = [uuid4().hex for _ in range(calls)]
    return [name for name in names if await keeper.take(account, limits, place=name, tokens=10) == 0]


async def until_nothing_is_kept(redis: Redis, account: str) -> None:
    async with asyncio.timeout(20):
        while await redis.exists(*account_keys(account)):
            await asyncio.sleep(0.02)


async def test_it_works(redis: Redis, link: RedisLink) -> None:
    counting, account = Counting(link), uuid4().hex
    keeper = process(counting)
    calls = await taken_by(keeper, account, LARGE, calls=300)
    assert len(calls) == 300
    assert counting.asked < 20
    assert await redis.zcard(account_keys(account)[1]) >= 300
    for call in calls:
        await keeper.give_back(account, LARGE, place=call, tokens=-10, requests=-1)
    await until_nothing_is_kept(redis, account)


async def test_a_call_is_ended_once(redis: Redis, link: RedisLink) -> None:
    keeper, account = process(RedisKeeper(link)), uuid4().hex
    calls = await taken_by(keeper, account, LARGE, calls=40)
    for call in calls[:-1] * 2:
        await keeper.give_back(account, LARGE, place=call, tokens=0)
    async with asyncio.timeout(20):
        while await redis.zcard(account_keys(account)[1]) > 1:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("limits", [Limits(rpm=790), Limits(concurrency=79), Limits(rpm=6000, tpm=7_000)])
async def test_small_limits_are_asked_for_every_call(link: RedisLink, limits: Limits) -> None:
    counting = Counting(link)
    await taken_by(process(counting), uuid4().hex, limits, calls=50)
    assert counting.asked == 50


async def test_several_processes_have_no_more_calls_under_way_than_the_limit(link: RedisLink) -> None:
    processes = [process(RedisKeeper(link)) for _ in range(3)]
    account, limits = uuid4().hex, Limits(concurrency=400)
    under_way: list[str] = []
    async with asyncio.timeout(20):
        while len(under_way) < 400:  # what one has leased and does not use comes back
            for keeper in processes:
                under_way += await taken_by(keeper, account, limits, calls=20)
            await asyncio.sleep(0.01)
    assert len(under_way) == 400
    await asyncio.sleep(2 * leases.LEASE_SECONDS)
    assert not [call for keeper in processes for call in await taken_by(keeper, account, limits, calls=5)]


async def test_several_processes_send_no_more_than_the_limit(link: RedisLink) -> None:
    processes = [process(RedisKeeper(link)) for _ in range(3)]
    account, limits = uuid4().hex, Limits(rpm=12_000)
    began, went = time.monotonic(), 0
    while time.monotonic() - began < 2:
        for keeper in processes:
            went += len(await taken_by(keeper, account, limits, calls=100))
        await asyncio.sleep(0)
    assert 1_200 <= went <= 1_200 + (12_000 - 1_200) / 60 * (time.monotonic() - began) + 1


async def test_nothing_is_leased_while_others_wait(link: RedisLink) -> None:
    account, limits = uuid4().hex, Limits(concurrency=100)
    other, keeper = RedisKeeper(link), process(counting := Counting(link))
    assert (
        len([n for n in range(100) if await other.take(account, limits, place=str(n), tokens=1) == 0]) == 100
    )
    assert await other.take(account, limits, place="waits", tokens=1, tenant_id=1, waits=True) == -1
    for n in range(50):
        await other.give_back(account, limits, place=str(n), tokens=0)
    for _ in range(20):
        assert await keeper.take(account, limits, place=uuid4().hex, tokens=1, tenant_id=1) == -1
    assert await other.take(account, limits, place="waits", tokens=1, tenant_id=1, waits=True) == 0
    assert len(await taken_by(keeper, account, limits, calls=20)) == 20
    assert counting.asked == 40


async def test_a_pause_ends_the_lease(link: RedisLink) -> None:
    keeper, account = process(RedisKeeper(link)), uuid4().hex
    assert await taken_by(keeper, account, LARGE, calls=10)
    await keeper.pause(account, seconds=60)
    assert not await taken_by(keeper, account, LARGE, calls=10)


async def test_a_lease_whose_answer_got_lost_is_given_back(redis: Redis, link: RedisLink) -> None:
    counting, account = Counting(link), uuid4().hex
    keeper = process(counting)
    calls = await taken_by(keeper, account, LARGE, calls=leases.LEAST_CALLS - 1)
    counting.loses_answers = True
    with pytest.raises(NoAnswer):
        await keeper.take(account, LARGE, place="lost", tokens=10)
    running = account_keys(account)[1]
    assert await redis.zcard(running) == 2 * leases.LEAST_CALLS
    for call in (*calls, "lost"):
        await keeper.give_back(account, LARGE, place=call, tokens=0)
    async with asyncio.timeout(20):
        while await redis.zcard(running):
            await asyncio.sleep(0.02)


async def test_what_is_owed_waits_for_redis(redis: Redis, link: RedisLink) -> None:
    account, away = uuid4().hex, RedisKeeper(RedisLink("redis://127.0.0.1:1/0"))
    keepers = [RedisKeeper(link)]
    keeper = LeasingKeeper(lambda: keepers[-1])
    calls = await taken_by(keeper, account, LARGE, calls=30)
    keepers.append(away)
    own = []
    for call in calls:
        try:
            await keeper.give_back(account, LARGE, place=call, tokens=0)
        except RedisError:
            own.append(call)  # it asked for itself, so its end is the caller's to report again
    assert 0 < len(own) < 15
    await asyncio.sleep(2 * leases.LEASE_SECONDS)
    keepers.pop()
    for call in own:
        await keeper.give_back(account, LARGE, place=call, tokens=0)
    async with asyncio.timeout(20):
        while await redis.zcard(account_keys(account)[1]):
            await asyncio.sleep(0.02)
