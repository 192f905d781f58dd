"""Long work: short bodies at once, long ones by a few threads behind a bounded line; counts that tell nobody anything."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from llm import long_work
from llm.errors import GatewayBusy
from llm.tokens import counting as tokens

LONG = long_work.SHORT_BYTES + 1


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


async def waiting(gate: threading.Event, *, tenant: int, count: int) -> list["asyncio.Task[bool]"]:
    tasks = [
        asyncio.create_task(long_work.done(gate.wait, size=LONG, tenant_id=tenant)) for _ in range(count)
    ]
    await asyncio.sleep(0.05)
    return tasks


async def test_it_works() -> None:
    here = threading.current_thread()
    assert await long_work.done(threading.current_thread, size=LONG - 1, tenant_id=1) is here
    assert await long_work.done(threading.current_thread, size=LONG, tenant_id=1) is not here
    with pytest.raises(ZeroDivisionError):
        await long_work.done(lambda: 1 // 0, size=LONG, tenant_id=1)


async def test_the_line_is_bounded_and_nobody_fills_it_alone(gate: threading.Event) -> None:
    tasks = await waiting(gate, tenant=1, count=long_work.MOST_OF_A_TENANT)
    with pytest.raises(GatewayBusy) as caught:
        await long_work.done(gate.wait, size=LONG, tenant_id=1)
    assert caught.value.retry_after_seconds == long_work.RETRY_AFTER_SECONDS
    for tenant in range(2, 1 + long_work.MOST_WAITING // long_work.MOST_OF_A_TENANT):
        tasks += await waiting(gate, tenant=tenant, count=long_work.MOST_OF_A_TENANT)
    with pytest.raises(GatewayBusy):
        await long_work.done(gate.wait, size=LONG, tenant_id=99)
    assert await long_work.done(lambda: "at once", size=1, tenant_id=1) == "at once"
    gate.set()
    assert await asyncio.gather(*tasks) == [True] * long_work.MOST_WAITING
    assert await long_work.done(gate.wait, size=LONG, tenant_id=1)


async def test_who_goes_leaves_the_thread_to_its_work_and_the_place_to_others(gate: threading.Event) -> None:
    tasks = await waiting(gate, tenant=1, count=long_work.THREADS + 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    later = await waiting(gate, tenant=1, count=long_work.THREADS)
    gate.set()
    assert await asyncio.gather(*later) == [True] * long_work.THREADS


async def test_counting_a_long_text_leaves_the_loop_free() -> None:
    text = " ".join(f"word{number}" for number in range(200_000))
    start = time.monotonic()
    counting = asyncio.create_task(
        long_work.done(lambda: tokens.count_text(text, "gpt-4o"), size=len(text), tenant_id=1)
    )
    longest, before = 0.0, start
    while not counting.done():
        await asyncio.sleep(0.001)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    assert await counting > 200_000
    assert longest < (time.monotonic() - start) / 2


def test_how_fast_a_text_is_counted_tells_no_other_tenant_that_it_was_counted() -> None:
    text = "a long text that only one tenant knows " * 5_000

    def cost(tenant: int) -> float:
        tokens.counted_for.set(tenant)
        start = time.process_time()
        tokens.count_text(text, "gpt-4o")
        return time.process_time() - start

    first, again, another = cost(1), min(cost(1) for _ in range(3)), cost(2)
    assert again < first / 5
    assert another > 5 * again


def test_no_token_is_longer_than_is_said() -> None:
    for model in ("gpt-4o", "gpt-4"):
        vocabulary = tokens.encoding_for(model).token_byte_values()
        assert max(map(len, vocabulary)) <= tokens.LONGEST_TOKEN_BYTES
