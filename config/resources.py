"""What lives as long as the event loop: the HTTP session, the PostgreSQL pool, Redis and background work.

Invariant: opened once per loop by `resources()` (ASGI lifespan, a task, a test) and closed by it; the lowest
layer, so it knows nothing of the apps. The pool logs in as the gateway's own role, or becomes `purser_app`; it never
works as the owner.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
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

T = TypeVar("T")

http: aiohttp.ClientSession
db: Pool
redis: Redis

DRAIN_SECONDS = 30
log = structlog.get_logger(__name__)
REDIS_CONNECTIONS = 16
_running: set[asyncio.Task[Any]] = set()
_services: list[Callable[[], Coroutine[Any, Any, None]]] = []


def service(start: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Register a coroutine function that runs from open to close, such as a listener. Cancelled at close."""
    _services.append(start)
    return start


def background(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start work that outlives its request; it is awaited at shutdown, for at most DRAIN_SECONDS."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


def gateway_parameters() -> tuple[dict[str, Any], bool]:
    """How the gateway connects, and whether it has a login of its own."""
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
    """Drop to the role that row-level security applies to. Before the first migration there is none."""
    await connection.execute("SET ROLE purser_app")


@asynccontextmanager
async def resources() -> AsyncIterator[None]:
    """Open everything, run the registered services, and close in reverse order."""
    global http, db, redis
    parameters, has_login = gateway_parameters()
    if not has_login:
        log.warning("gateway_logs_in_as_owner", hint="manage.py check --deploy says what to do")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=True) as http,
        Pool(
            kwargs={**parameters, "autocommit": True},
            configure=None if has_login else as_app_role,
            min_size=2,
            max_size=settings.POOL_MAX_SIZE,
            timeout=5,
            open=False,
        ) as db,
    ):
        redis = open_redis()
        services = [asyncio.get_running_loop().create_task(start()) for start in _services]
        try:
            yield
        finally:
            await _drain()
            await _end(services)
            await redis.aclose()


def open_redis() -> Redis:
    """A client that tells at once when Redis is away, and tries again only a connection that had gone stale.

    A burst shares few connections: 100 cold calls at once take 35 ms through 16, and 300 ms with one each.
    """
    pool = BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=REDIS_CONNECTIONS,
        timeout=1,
        socket_connect_timeout=1,
        socket_timeout=2,
        retry=Retry(NoBackoff(), 1),
        driver_info=None,  # introducing ourselves would be two more round trips a connection
    )
    return Redis.from_pool(pool)


async def _end(services: "list[asyncio.Task[None]]") -> None:
    """Cancel until all have ended: before Python 3.12 `asyncio.wait_for`, which drivers use, may swallow a cancellation."""
    while running := [task for task in services if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1)
    await asyncio.gather(*services, return_exceptions=True)


async def _drain() -> None:
    if _running:
        await asyncio.wait(_running, timeout=DRAIN_SECONDS)
