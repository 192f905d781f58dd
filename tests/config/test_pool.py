"""The gateway's pool, on the real server."""

import asyncio

import pytest
from django.db import connection as owner

from config import resources
from tests.billing.conftest import in_thread

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
