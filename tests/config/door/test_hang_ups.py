"""Work that is cancelled by its client, and by nobody else's disconnect."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from config.door.hang_ups import until_hang_up

DISCONNECT = {"type": "http.disconnect"}
NO_MORE = {"type": "http.request", "body": b"", "more_body": False}
AT_ONCE = 0.0


async def test_it_works() -> None:
    steps = []
    with until_hang_up(lambda: asyncio.sleep(0.01, DISCONNECT), after_seconds=AT_ONCE):
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cancelled")
    await asyncio.sleep(0)  # what follows goes on
    assert steps == ["cancelled"]


async def test_the_end_of_the_body_is_no_disconnect() -> None:
    told = [NO_MORE, DISCONNECT]
    ended = False
    with until_hang_up(lambda: asyncio.sleep(0.01, told.pop(0)), after_seconds=AT_ONCE):
        while told:
            await asyncio.sleep(0.01)
        ended = True
        await asyncio.sleep(60)
    assert ended


async def test_nobody_is_asked_about_work_that_ends_soon() -> None:
    asked = []
    with until_hang_up(lambda: asked.append(True) or asyncio.sleep(0), after_seconds=60):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    assert not asked


async def test_a_disconnect_after_the_work_cancels_nothing() -> None:
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    with until_hang_up(lambda: gone, after_seconds=AT_ONCE):
        await asyncio.sleep(0.01)
        gone.set_result(DISCONNECT)  # heard only when the work has ended
    await asyncio.sleep(0.01)


async def test_a_cancellation_by_others_passes() -> None:
    async def work() -> None:
        with until_hang_up(lambda: asyncio.sleep(60), after_seconds=AT_ONCE):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class ServersFuture:
    """One of granian's: it forgets no callback, and no garbage collection sees into it."""

    _asyncio_future_blocking = False

    def __init__(self) -> None:
        self.callbacks: list[Any] = []

    def add_done_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def cancel(self) -> None:
        """Nobody waits for it."""


async def test_work_that_has_ended_is_freed_without_a_garbage_collection() -> None:
    async def work() -> None:
        with until_hang_up(ServersFuture, after_seconds=AT_ONCE):  # type: ignore[arg-type]
            await asyncio.sleep(0.01)

    gc.disable()
    try:
        task = asyncio.create_task(work())
        await task
        freed = weakref.ref(task)
        del task
        await asyncio.sleep(0)
        assert freed() is None
    finally:
        gc.enable()
