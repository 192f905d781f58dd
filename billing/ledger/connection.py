"""Sends a group's statement to PostgreSQL, and repeats it when it was blocked.

Invariant: a statement whose answer was lost may have been committed: every statement sent here must be safe to
repeat.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled, SerializationFailure
from psycopg_pool import PoolClosed, PoolTimeout

from billing.errors import LedgerUnavailable, Stalled
from config import resources

T = TypeVar("T")
log = structlog.get_logger(__name__)

CONFLICTS = (DeadlockDetected, SerializationFailure)
TOO_LONG = (QueryCanceled, LockNotAvailable)  # for the limits of the gateway's login: docs/operations.md
UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed, OSError)
CONFLICT_RETRIES = 5
CONFLICT_PAUSE_SECONDS = 0.05


async def call(query: str, parameters: tuple[Any, ...]) -> Any:
    """Run one function call, prepared, in a transaction of its own; its single row.

    Repeats what lost to a conflict, which was rolled back as a whole. Raises Stalled for what took too long, which was
    rolled back, too: it is not repeated here, because others wait behind it.
    """
    for conflict in range(CONFLICT_RETRIES + 1):
        try:
            async with resources.db.connection() as connection:
                cursor = await connection.execute(query, parameters, prepare=True)
                return await cursor.fetchone()
        except TOO_LONG as error:
            raise Stalled from error
        except CONFLICTS:
            if conflict == CONFLICT_RETRIES:
                raise
            await asyncio.sleep(CONFLICT_PAUSE_SECONDS * conflict)
    raise AssertionError("unreachable")


async def twice(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, and once more if the connection broke. Raises LedgerUnavailable, and Stalled."""
    try:
        return await work()
    except UNREACHABLE as first:
        log.warning("ledger_connection_lost", error=type(first).__name__)
    try:
        return await work()
    except UNREACHABLE as error:
        raise LedgerUnavailable from error


def array_literal(items: Iterable[object]) -> str:
    """A PostgreSQL array of numbers, ids or plain words: a third of the time that adapting a list takes."""
    return "{" + ",".join(map(str, items)) + "}"
