"""The resources of an event loop: the HTTP session, the PostgreSQL pool, Redis and background work.

Invariant: `resources()` (ASGI lifespan, a task, a test) opens them once per loop and closes them. This is the lowest
layer and knows nothing of the apps. The pool logs in as the gateway's role, or switches to `purser_app`; it never works
as the owner.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import psycopg
import structlog
from django.conf import settings
from django.db import connections
from psycopg import AsyncConnection
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from config import environment
from config.database import logins
from config.database.pool import Pool
from config.redis_link import RedisLink

T = TypeVar("T")

http: aiohttp.ClientSession
db: Pool
redis: Redis  # for pub/sub, scans and transactions
redis_link: RedisLink  # for all that a call waits for

DRAIN_SECONDS = 30
log = structlog.get_logger(__name__)
REDIS_CONNECTIONS = 16
_running: set[asyncio.Task[Any]] = set()
_services: list[Callable[[], Coroutine[Any, Any, None]]] = []
_first_statements: list[str] = []


def service(start: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Register a coroutine function that runs while the resources are open, such as a listener. Cancelled at close."""
    _services.append(start)
    return start


def first_statement(statement: str) -> None:
    """Register what a connection of a web worker executes before it is used, so that no call waits for its plans. It must
    change nothing."""
    _first_statements.append(statement)


def background(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start work that may outlive its request. Shutdown waits for it, for at most DRAIN_SECONDS."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


def gateway_parameters() -> tuple[dict[str, Any], bool]:
    """The gateway's connection parameters, and whether it has its own login."""
    parameters = connections["default"].get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold", "pool"):
        parameters.pop(name, None)
    parameters["options"] = logins.TIME_LIMITS[logins.WEB].options()
    if url := environment.text("WEB_DATABASE_URL"):
        return parameters | {key: value for key, value in logins.parameters_of(url).items() if value}, True
    role = logins.role_name(logins.WEB, parameters["dbname"])
    if password := logins.kept_password(settings.PURSER_HOME, role):
        return parameters | {"user": role, "password": password}, True
    return parameters, False


async def as_app_role(connection: AsyncConnection[Any]) -> None:
    """Switch to the role that row-level security applies to. It does not exist before the first migration."""
    await connection.execute("SET ROLE purser_app")


async def make_plans(connection: AsyncConnection[Any]) -> None:
    """Execute the first statements. What cannot be done yet, such as before a migration, the first call does."""
    for statement in _first_statements:
        with contextlib.suppress(psycopg.Error):
            await connection.execute(statement)


@asynccontextmanager
async def resources(*, plans_ahead: bool = False) -> AsyncIterator[None]:
    """Open everything, run the registered services, and close in reverse order. `plans_ahead` makes connections dearer to
    open and faster to use: for a process that lives long."""
    global http, db, redis, redis_link
    parameters, has_login = gateway_parameters()

    async def configure(connection: AsyncConnection[Any]) -> None:
        if not has_login:
            await as_app_role(connection)
        if plans_ahead:
            await make_plans(connection)

    if not has_login:
        log.warning("gateway_logs_in_as_owner", hint="manage.py check --deploy says what to do")
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),  # no account is known by the cookies of another
        ) as http,
        Pool(
            kwargs={**parameters, "autocommit": True},
            configure=configure,
            min_size=2,
            max_size=settings.POOL_MAX_SIZE,
            timeout=5,
            open=False,
        ) as db,
    ):
        redis, redis_link = open_redis(), RedisLink(settings.REDIS_URL)
        services = [asyncio.get_running_loop().create_task(start()) for start in _services]
        try:
            yield
        finally:
            await drain()
            await end_services(services)
            await redis_link.aclose()
            await redis.aclose()


def run(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, for code that is not async: awaited in a loop of its own, with these resources."""

    async def main() -> T:
        async with resources():
            return await work()

    return asyncio.run(main())


def open_redis() -> Redis:
    """A client that fails fast when Redis is away, and retries only on a stale connection.

    A burst shares few connections: 100 cold calls at the same time take 35 ms over 16 connections, and 300 ms over 100.
    """
    pool = BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=REDIS_CONNECTIONS,
        timeout=1,
        socket_connect_timeout=1,
        socket_timeout=2,
        retry=Retry(NoBackoff(), 1),
        driver_info=None,  # sending it would cost two more round trips per connection
    )
    return Redis.from_pool(pool)


async def end_services(services: "list[asyncio.Task[None]]") -> None:
    """Cancel until all have ended: before Python 3.12 `asyncio.wait_for`, which drivers use, may lose a cancellation."""
    while running := [task for task in services if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1)
    await asyncio.gather(*services, return_exceptions=True)


async def drain() -> None:
    """Wait for the background work that is under way, for at most DRAIN_SECONDS."""
    if _running:
        await asyncio.wait(_running, timeout=DRAIN_SECONDS)
