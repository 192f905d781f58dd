"""The gateway's pool of PostgreSQL connections.

Invariant: a connection that died while it lay in the pool (the server restarted, an operator ended it) is
replaced unseen: a request never fails for it.
"""

import select
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool


class Pool(AsyncConnectionPool[AsyncConnection[Any]]):
    """psycopg's pool, which by itself asks the server before it hands out a connection, or never."""

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[Any]:
        """A connection that lives. Raises psycopg_pool.PoolTimeout, PoolClosed."""
        while not await lives(connection := await super().getconn(timeout)):
            await connection.close()
            await self.putconn(connection)
        return connection


async def lives(connection: AsyncConnection[Any]) -> bool:
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
