"""What is collected in memory and written a little later: figures for Prometheus, and the lines of calls.

Invariant: it is written twice a second while the process runs, and once more when its resources are closed. A writer that
fails does not stop the others.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from config import resources

SECONDS: Final = 0.5

log = structlog.get_logger(__name__)
_writers: list[Callable[[], None]] = []


def write_behind(write: Callable[[], None]) -> Callable[[], None]:
    """Register a function that writes what was collected since it was last called, without waiting."""
    _writers.append(write)
    return write


def write_all() -> None:
    for write in _writers:
        try:
            write()
        except Exception as error:
            log.error("not_written", writer=write.__module__, exc_info=error)


async def written_by_all() -> None:
    """Wait until every worker has written what it has collected by now."""
    await asyncio.sleep(1.5 * SECONDS)


@resources.service
async def write_regularly() -> None:
    try:
        while True:
            await asyncio.sleep(SECONDS)
            write_all()
    finally:
        write_all()
