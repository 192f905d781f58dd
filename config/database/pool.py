"""The gateway's pool of PostgreSQL connections.

Invariant: a connection that died in the pool (the server restarted, an operator ended it) is replaced without an error
for the request. Requests wait for a busy pool, but not for a server that refuses connections: then all waiting requests
fail immediately, and the next request tries again immediately. The pool works as soon as the server does.
"""

import asyncio
import select
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

# the server is full, not away: the open connections are still used
NO_ROOM = frozenset({"53300", "53400"})


class DatabaseRefused(psycopg.OperationalError):
    """PostgreSQL does not accept connections at the moment."""


class Connection(AsyncConnection[Any]):
    """A connection that ends all waits for a connection when it cannot be made. A process has one pool."""

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
    """psycopg's pool with a cheap check of idle connections. By itself it checks with a round trip, or never."""

    def __init__(self, **options: Any) -> None:
        # its own retries come later and later, also after the end of an outage, while requests wait
        super().__init__(connection_class=Connection, reconnect_timeout=0, **options)

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[Any]:
        """A working connection. Raises DatabaseRefused, psycopg_pool.PoolTimeout, PoolClosed."""
        while not await is_alive(connection := await self._wait_for_connection(timeout)):
            await connection.close()
            await self.putconn(connection)
        return connection

    async def ensure_reachable(self) -> None:
        """Return when a connection is available; raises like `getconn`. For use before the ORM, which would block."""
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

    On an idle connection the server only sends a message when it closes. Therefore only a connection with something to
    read is checked: polling costs a microsecond, a check one round trip.
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
