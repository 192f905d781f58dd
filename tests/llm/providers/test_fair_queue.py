"""A tenant's calls wait for each other, not another tenant's for them."""

import asyncio
from collections import Counter
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from config.redis_link import RedisLink
from llm.providers.account_limits import Limits, RedisKeeper
from llm.providers.errors import ProviderUnavailable
from llm.providers.fair_queue import FairQueue, QueueFull
from llm.providers.kinds import KINDS
from llm.providers.limiter import ProviderLimiter
from llm.providers.target import Target

FLOOD, BYSTANDER, THIRD = 1, 2, 3


def target(**limits: int) -> Target:
    name = uuid4().hex
    return Target(
        model="m", provider=name, kind=KINDS["openai"], base_url="", api_key="", upstream="m", limits=limits
    )


class Line:
    """Calls at a queue, and the order in which they had their turn."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue, self.served = queue, []  # type: ignore[var-annotated]
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, tenant_id: int, *, calls: int = 1, cost: float = 1.0) -> None:
        self.tasks += [asyncio.create_task(self._call(tenant_id, cost)) for _ in range(calls)]
        await asyncio.sleep(0)

    async def _call(self, tenant_id: int, cost: float) -> None:
        async with self.queue.turn(tenant_id):
            await asyncio.sleep(0)
            self.queue.served(tenant_id, cost=cost)
            self.served.append(tenant_id)

    async def end(self) -> list[int]:
        await asyncio.gather(*self.tasks)
        return self.served


async def test_it_works() -> None:
    line = Line(FairQueue())
    await line.come(FLOOD, calls=900)
    await line.come(BYSTANDER)
    served = await line.end()
    assert served.index(BYSTANDER) <= 2
    assert len(served) == 901
    assert not line.queue.is_busy


async def test_each_has_the_same_share_of_what_is_taken() -> None:
    """Calls that take four times as much come a quarter as often."""
    line = Line(FairQueue())
    await line.come(FLOOD, calls=200, cost=4.0)
    await line.come(BYSTANDER, calls=200, cost=1.0)
    await line.come(THIRD, calls=200, cost=1.0)
    first = Counter((await line.end())[:180])
    assert abs(first[BYSTANDER] - first[THIRD]) <= 2
    assert abs(first[BYSTANDER] - 4 * first[FLOOD]) <= 8


async def test_who_had_nothing_for_long_saves_nothing_up() -> None:
    line = Line(FairQueue())
    await line.come(FLOOD, calls=100)
    await line.come(BYSTANDER, calls=100)
    served = await line.end()
    assert max(len(run) for run in "".join("AB"[one - 1] for one in served).replace("BA", "B A").split()) <= 3


async def test_one_tenants_calls_are_served_in_the_order_they_came() -> None:
    queue, served = FairQueue(), []

    async def call(number: int) -> None:
        async with queue.turn(FLOOD):
            await asyncio.sleep(0)
            served.append(number)

    await asyncio.gather(*(call(number) for number in range(20)))
    assert served == list(range(20))


async def test_a_queue_is_bounded_for_each_and_for_all() -> None:
    queue = FairQueue(most_of_one=10, most=15)

    async def wait(tenant_id: int) -> None:
        async with queue.turn(tenant_id):
            await asyncio.sleep(3600)

    tasks = [asyncio.create_task(wait(FLOOD)) for _ in range(12)]
    await asyncio.sleep(0)
    refused = [task for task in tasks if task.done()]
    assert len(refused) == 1
    assert isinstance(refused[0].exception(), QueueFull)
    # the longest queue gives way
    others = [asyncio.create_task(wait(tenant_id)) for tenant_id in range(2, 8)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not [task for task in others if task.done()]
    assert len([task for task in tasks if task.done()]) == 2
    for task in (*tasks, *others):
        task.cancel()
    await asyncio.gather(*tasks, *others, return_exceptions=True)
    assert not queue.is_busy


async def test_whoever_gives_up_leaves_the_turn_to_the_next() -> None:
    queue = FairQueue()
    served = []

    async def call(number: int) -> None:
        async with queue.turn(number % 3):
            await asyncio.sleep(0)
            served.append(number)

    tasks = [asyncio.create_task(call(number)) for number in range(60)]
    for number in range(0, 60, 2):
        await asyncio.sleep(0)
        tasks[number].cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert set(range(1, 60, 2)) <= set(served)
    assert not queue.is_busy


async def flooded(limiters: list[ProviderLimiter], account: Target) -> list[int]:
    """How many calls of the flood went between each of the bystander's and the one before it."""
    served: list[int] = []

    async def call(limiter: ProviderLimiter, tenant_id: int) -> None:
        slot = await limiter.acquire(account, tokens=10, tenant_id=tenant_id)
        served.append(tenant_id)
        await asyncio.sleep(0.002)
        await limiter.release(slot, tokens=10)

    flood = [asyncio.create_task(call(limiter, FLOOD)) for limiter in limiters for _ in range(300)]
    await asyncio.sleep(0.3)
    between = []
    for number in range(6):
        before = len(served)
        await call(limiters[number % len(limiters)], BYSTANDER)
        between.append(served.index(BYSTANDER, before) - before)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    return between


@pytest.mark.parametrize("limits", [{"concurrency": 1}, {"rpm": 3000}, {"tpm": 30_000, "concurrency": 4}])
async def test_a_flood_delays_another_tenant_by_a_few_calls_in_all_processes(
    link: RedisLink, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the machine may be busy, Redis is not away
    monkeypatch.setattr("llm.providers.limiter.ANSWER_SECONDS", 20.0)
    processes = [ProviderLimiter(shared=lambda: RedisKeeper(link)) for _ in range(3)]
    between = await flooded(processes, target(**limits))
    # what is at the head of each process already, and what had its place when the call came
    assert max(between) <= 2 * len(processes) + limits.get("concurrency", 0)


async def test_without_redis_each_process_is_fair_by_itself() -> None:
    away = RedisLink("redis://127.0.0.1:9/0")
    between = await flooded([ProviderLimiter(shared=lambda: RedisKeeper(away))], target(concurrency=1))
    assert max(between) <= 3
    await away.aclose()


async def test_who_waits_and_gives_up_leaves_no_ticket(redis: Redis, link: RedisLink) -> None:
    processes = [ProviderLimiter(shared=lambda: RedisKeeper(link)) for _ in range(2)]
    account = target(concurrency=1)
    slot = await processes[0].acquire(account, tokens=1, tenant_id=FLOOD)
    for limiter in processes:
        with pytest.raises(ProviderUnavailable):
            await limiter.acquire(account, tokens=1, tenant_id=BYSTANDER, patience_seconds=0.2)
    await processes[0].take_back(slot)
    async with asyncio.timeout(20):
        while [key async for key in redis.scan_iter(f"purser:provider:{{{account.provider}}}*")]:
            await asyncio.sleep(0.01)


async def test_the_ticket_of_a_process_that_died_is_forgotten(
    link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.providers.account_limits.TICKET_SECONDS", 0.3)
    keeper, account, limits = RedisKeeper(link), uuid4().hex, Limits(concurrency=1)
    assert await keeper.take(account, limits, place="running", tokens=1, tenant_id=THIRD) == 0
    assert await keeper.take(account, limits, place="dead", tokens=1, tenant_id=FLOOD, waits=True) == -1
    await keeper.give_back(account, limits, place="running", tokens=0)
    assert await keeper.take(account, limits, place="next", tokens=1, tenant_id=BYSTANDER, waits=True) == -1
    async with asyncio.timeout(20):
        while await keeper.take(account, limits, place="next", tokens=1, tenant_id=BYSTANDER, waits=True):
            await asyncio.sleep(0.05)


async def test_nobody_overtakes_who_waits_in_another_process(link: RedisLink) -> None:
    keeper, account, limits = RedisKeeper(link), uuid4().hex, Limits(concurrency=1)
    assert await keeper.take(account, limits, place="running", tokens=1, tenant_id=THIRD) == 0
    assert await keeper.take(account, limits, place="waits", tokens=1, tenant_id=FLOOD, waits=True) == -1
    await keeper.give_back(account, limits, place="running", tokens=0)
    assert await keeper.take(account, limits, place="comes", tokens=1, tenant_id=FLOOD) == -1
    assert await keeper.take(account, limits, place="waits", tokens=1, tenant_id=FLOOD, waits=True) == 0
