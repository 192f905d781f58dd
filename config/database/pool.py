"""The gateway's pool of PostgreSQL connections.

Invariant: a connection that died while it lay in the pool (the server restarted, an operator ended it) is
replaced unseen: a request never fails for it. A busy pool is waited for, a server that refuses is not: whoever waits then
is told at once, and the next to come tries again at once, so that the pool is well the moment the server is.
"""

import asyncio
import select
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

# refused for want of room, not because the server is away: what is open goes on being shared
NO_ROOM = frozenset({"53300", "53400"})


class DatabaseRefused(psycopg.OperationalError):
    """PostgreSQL takes no connection at the moment."""


class Connection(AsyncConnection[Any]):
    """A connection that, when it cannot be made, ends the waits for one. A process has one pool."""

    waits: set[asyncio.Timeout] = set()

    @classmethod
    async def connect(cls, *arguments: Any, **options: Any) -> Self:
        try:
            return await super().connect(*arguments, **options)
        except psycopg.OperationalError as error:
            if error.sqlstate not in NO_ROOM:
                cls.end_waits()
            raise

    @classmethod
    def end_waits(cls) -> None:
        for wait in cls.waits:
            if not wait.expired():
                wait.reschedule(0)


class Pool(AsyncConnectionPool[AsyncConnection[Any]]):
    """psycopg's pool, which by itself asks the server before it hands out a connection, or never."""

    def __init__(self, **options: Any) -> None:
        # it would try again later and later: past the end of an outage, while callers wait
        super().__init__(connection_class=Connection, reconnect_timeout=0, **options)

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[Any]:
        """A connection that is_alive. Raises DatabaseRefused, psycopg_pool.PoolTimeout, PoolClosed."""
        while not await is_alive(connection := await self._wait_for_connection(timeout)):
            await connection.close()
            await self.putconn(connection)
        return connection

    async def ensure_reachable(self) -> None:
        """Return once there is a connection to be had, raise as `getconn` does: before work of the ORM, which waits."""
        await self.putconn(await self.getconn())

    async def _wait_for_connection(self, timeout: float | None) -> AsyncConnection[Any]:
        wait = asyncio.timeout(None)
        try:
            async with wait:
                Connection.waits.add(wait)
                return await super().getconn(timeout)
        except TimeoutError:
            raise DatabaseRefused("PostgreSQL takes no connection at the moment") from None
        finally:
            Connection.waits.discard(wait)


async def is_alive(connection: AsyncConnection[Any]) -> bool:
    """Whether an idle connection can be used.

    Nobody speaks on one but a server that says goodbye, so only one with something to read is asked: looking
    costs a microsecond, asking a round trip.
    """
    if connection.closed:
        return False
    idle = select.poll()
    idle.register(connection.fileno(), select.POLLIN)
    if idle.poll(0):
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.Error:
            return False
    return True
