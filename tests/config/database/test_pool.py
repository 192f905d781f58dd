"""The gateway's pool, on the real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import connection as owner

from config import resources
from config.database.pool import DatabaseRefused, Pool
from config.running.embedded import free_port
from tests.orm import in_thread

pytestmark = pytest.mark.usefixtures("loop_resources")

CONNECTIONS = 6


async def the_pids(*, at_once: int) -> set[int]:
    """The server's processes behind as many connections, all in use at the same time."""
    everyone_holds_one = asyncio.Barrier(at_once)

    async def pid() -> int:
        async with resources.db.connection() as connection:
            await everyone_holds_one.wait()
            (number,) = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
            return number

    return set(await asyncio.gather(*(pid() for _ in range(at_once))))


async def test_connections_that_died_in_the_pool_are_replaced_unseen() -> None:
    pids = await the_pids(at_once=CONNECTIONS)
    assert len(pids) == CONNECTIONS

    def end_them_all() -> None:
        with owner.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s) AS pid", [list(pids)])
            assert all(is_ended for (is_ended,) in cursor.fetchall())

    await in_thread(end_them_all)
    others = await the_pids(at_once=CONNECTIONS)
    assert len(others) == CONNECTIONS
    assert not others & pids


async def test_a_connection_with_news_that_are_no_goodbye_is_kept() -> None:
    async with resources.db.connection() as connection:
        await connection.execute("LISTEN news")
        pid = connection.info.backend_pid

    def tell() -> None:
        with owner.cursor() as cursor:
            cursor.execute("NOTIFY news")

    await in_thread(tell)
    assert pid in await the_pids(at_once=CONNECTIONS)


class Door:
    """A way to the server that can be shut, as if it were away."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    def parameters(self) -> dict[str, Any]:
        known = owner.get_connection_params()
        for name in ("cursor_factory", "context", "prepare_threshold", "pool"):
            known.pop(name, None)
        self._behind = known["host"], known.get("port") or 5432
        return {**known, "host": "127.0.0.1", "port": self.port, "autocommit": True}

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def shut(self) -> None:
        if self._server:
            self._server.close()
        for connection in self._connections:
            connection.transport.abort()
        await asyncio.gather(
            *(connection.wait_closed() for connection in self._connections), return_exceptions=True
        )
        self._connections.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._behind
        if host.startswith("/"):
            other_reader, other_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            other_reader, other_writer = await asyncio.open_connection(host, port)
        self._connections |= {writer, other_writer}
        await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while content := await reader.read(65536):
            writer.write(content)
    writer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    one = Door()
    yield one
    await one.shut()


@contextlib.asynccontextmanager
async def pool_behind(door: Door, *, max_size: int = 4) -> AsyncIterator[Pool]:
    """A pool so patient that a test which had to wait for it would never end."""
    async with Pool(
        kwargs=door.parameters(), min_size=1, max_size=max_size, timeout=3600, open=False
    ) as pool:
        yield pool


async def test_a_server_that_refuses_is_not_waited_for(door: Door) -> None:
    async with pool_behind(door) as pool:
        with pytest.raises(DatabaseRefused):
            await pool.getconn()
        with pytest.raises(DatabaseRefused):
            await pool.ensure_reachable()
        told = await asyncio.gather(*(pool.getconn() for _ in range(20)), return_exceptions=True)
        assert {type(error) for error in told} == {DatabaseRefused}
        await door.open()
        await pool.ensure_reachable()
        async with pool.connection() as connection:  # at once: nothing had put the next try off
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_server_that_goes_away_is_noticed_and_found_again(door: Door) -> None:
    async with pool_behind(door) as pool:
        for _ in range(3):
            await door.open()
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
            await door.shut()
            with pytest.raises(DatabaseRefused):
                await pool.getconn()


async def test_a_busy_pool_is_waited_for(door: Door) -> None:
    await door.open()
    async with pool_behind(door, max_size=1) as pool:
        async with pool.connection():
            waiting = asyncio.create_task(pool.getconn())
            await asyncio.sleep(0.1)
            assert not waiting.done()
        await pool.putconn(await waiting)
