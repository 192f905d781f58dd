"""How far a stream has come, written down while it lasts.

Invariant: a worker that dies a moment (`RIDE_SECONDS`) after a stream's first byte, or later, leaves what was produced until
then, so that the call is billed by that and not by its hold. The notes of all streams of such a moment share a transaction.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

from billing.ledger import settlements

PROGRESS_SECONDS: Final = 1.0
SHARED_SECONDS: Final = 0.2  # notes are written at multiples of this, so that those of many streams meet


async def keep(
    attempt_id: UUID,
    *,
    input_tokens: int,
    output_tokens: Callable[[], int],
    every_seconds: float = PROGRESS_SECONDS,
) -> None:
    """Write it down now, when its first byte is here, then every second, until cancelled."""
    while True:
        await settlements.progress(
            attempt_id, {"input_tokens": input_tokens, "output_tokens": output_tokens()}
        )
        later = asyncio.get_running_loop().time() + every_seconds
        await asyncio.sleep(every_seconds + -later % SHARED_SECONDS)
