"""Work whose length is up to the client, off the event loop: counting, routing, compressing and translating long bodies.

Invariant: short work is done immediately, on the event loop; long work is done by a few threads, from a
bounded queue in which no tenant has more than a few places. Why threads are enough: docs/decisions/0024-nobody-stops-the-loop.md.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from prometheus_client import Gauge

from llm.errors import GatewayBusy

T = TypeVar("T")

SHORT_BYTES: Final = 64 * 1024
THREADS: Final = 2
MOST_WAITING: Final = 32
MOST_OF_A_TENANT: Final = 8
LONGEST_WAIT_SECONDS: Final = 10.0
RETRY_AFTER_SECONDS: Final = 5

WAITING = Gauge(
    "purser_long_work_in_line", "Long bodies that wait to be read, or are read", multiprocess_mode="livesum"
)

_threads = ThreadPoolExecutor(THREADS, "long-work")


class _Line:
    """Who waits for a thread, and who has one. Belongs to one event loop at a time."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(THREADS)
        self.loop = asyncio.get_running_loop()
        self.inside: Counter[int] = Counter()


_line: _Line | None = None


async def done(work: Callable[[], T], *, size: int, tenant_id: int) -> T:
    """What `work` returns: done immediately where the body it reads has few bytes, else by a thread when it is its turn.

    Raises GatewayBusy where too much of it waits already, of this tenant or in all, and where the turn does not come.
    """
    if size <= SHORT_BYTES:
        return work()
    line = _of_this_loop()
    if line.inside[tenant_id] >= MOST_OF_A_TENANT or line.inside.total() >= MOST_WAITING:
        raise _busy()
    line.inside[tenant_id] += 1
    WAITING.set(line.inside.total())
    try:
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await line.places.acquire()
        except TimeoutError:
            raise _busy() from None
        return await _by_a_thread(line, work)
    finally:
        line.inside[tenant_id] -= 1
        line.inside += Counter()  # forgets those who have nothing there
        WAITING.set(line.inside.total())


async def _by_a_thread(line: _Line, work: Callable[[], T]) -> T:
    """The place is free again when the work is over, also where its caller no longer waits."""
    context = contextvars.copy_context()
    try:
        task = line.loop.run_in_executor(_threads, context.run, work)
    except BaseException:
        line.places.release()
        raise
    task.add_done_callback(lambda _: line.places.release())
    return await asyncio.shield(task)


def _of_this_loop() -> _Line:
    global _line
    if _line is None or _line.loop is not asyncio.get_running_loop():
        _line = _Line()
    return _line


def _busy() -> GatewayBusy:
    return GatewayBusy(
        "Too many very long requests are being read at the moment; try again in a few seconds.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
        facts={"line": "long_work"},
    )
