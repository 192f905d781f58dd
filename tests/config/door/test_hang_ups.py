"""Work that is cancelled by its client, and by nobody else's disconnect."""

import asyncio
from typing import Any

import pytest

from config.door.hang_ups import until_hang_up

DISCONNECT = {"type": "http.disconnect"}


async def test_it_works() -> None:
    steps = []
    with until_hang_up(lambda: asyncio.sleep(0.01, DISCONNECT)):
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cancelled")
    await asyncio.sleep(0)  # what follows goes on
    assert steps == ["cancelled"]


async def test_a_disconnect_after_the_work_cancels_nothing() -> None:
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    with until_hang_up(lambda: gone):
        gone.set_result(DISCONNECT)  # heard only when the work has ended
    await asyncio.sleep(0.01)


async def test_a_cancellation_by_others_passes() -> None:
    async def work() -> None:
        with until_hang_up(lambda: asyncio.sleep(60)):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
