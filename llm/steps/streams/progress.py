"""How far a stream has come, written down while it lasts.

Invariant: a worker that dies after a stream's first byte leaves what was produced until then, so that the call is billed by
that and not by its hold.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

from billing.ledger import settlements

PROGRESS_SECONDS: Final = 1.0


async def keep(
    attempt_id: UUID,
    *,
    input_tokens: int,
    output_tokens: Callable[[], int],
    has_begun: asyncio.Event,
    every_seconds: float = PROGRESS_SECONDS,
) -> None:
    """Write it down at the first byte, then every second, until cancelled."""
    await has_begun.wait()
    while True:
        await settlements.progress(
            attempt_id, {"input_tokens": input_tokens, "output_tokens": output_tokens()}
        )
        await asyncio.sleep(every_seconds)
