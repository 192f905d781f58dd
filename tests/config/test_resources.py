"""The event loop's resources close whatever their services do."""

import asyncio

from config import resources


async def test_a_service_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    service = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(resources.end_services([service]), timeout=60)
    assert service.cancelled()
