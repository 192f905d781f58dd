"""`/healthz`, `/readyz` and `/metrics`, for load balancers, operators and Prometheus.

Invariant: an answer never hangs: each dependency is checked with a deadline. Without Redis the state is degraded, not
unready, because requests still succeed. With a METRICS_TOKEN, callers without it learn only whether we can serve.
"""

import asyncio
import functools
import hmac
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from caching.embedders.base import FOLDER, GRAPH
from caching.figures.scopes import collector
from config import file_storage, resources
from config.running import draining
from config.work.states import WorkCollector, read_work
from config.write_behind import written_by_all

DEADLINE_SECONDS = 2.0
APPLIED_SQL = "SELECT app, name FROM django_migrations"
_asking: dict[str, asyncio.Task[None]] = {}


class NotReady(Exception):
    """A dependency is available but not usable. The message says what to do."""


async def head_root(request: HttpRequest) -> HttpResponse:
    """`HEAD /`, which Claude Code sends before it begins. The front page itself comes from the site."""
    return HttpResponse(status=204)


async def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> HttpResponse:
    """Whether this process can serve calls, with the state of each dependency."""
    checks = {"postgresql": _postgresql, "migrations": _migrations, "embedder": _embedder, "redis": _redis}
    checks["files"] = _files
    answers = await asyncio.gather(*(_check(name, check) for name, check in checks.items()))
    states = dict(zip(checks, answers, strict=True))
    is_ready = states["postgresql"] == states["migrations"] == "ok"
    is_whole = all(state == "ok" for state in states.values())
    able = "ok" if is_whole else "degraded" if is_ready else "unready"
    status = "stopping" if draining.is_stopping else able
    answer = {"status": status, "dependencies": states} if _may_read_figures(request) else {"status": status}
    return JsonResponse(answer, status=200 if status in ("ok", "degraded") else 503)


async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text, summed over this machine's workers. Needs the token, if one is configured."""
    if not _may_read_figures(request):
        return HttpResponse(
            "The figures need METRICS_TOKEN as a bearer token.\n",
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": "Bearer"},
        )
    await written_by_all()
    registry = REGISTRY
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        _forget_dead_workers(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    scopes = CollectorRegistry()  # the same in every worker, so not to be summed
    scopes.register(collector)
    scopes.register(WorkCollector(await asyncio.to_thread(read_work)))
    text = generate_latest(registry) + generate_latest(scopes)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


def _may_read_figures(request: HttpRequest) -> bool:
    """Whether the request may read metrics and the state of dependencies."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    return not settings.METRICS_TOKEN or (scheme.lower() == "bearer" and is_right)


def _forget_dead_workers(folder: Path) -> None:
    """Drop the gauges of dead workers: the calls that they counted are not open any more."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker did it at the same time
                mark_process_dead(pid)  # type: ignore[no-untyped-call]


async def _check(name: str, check: Callable[[], Coroutine[Any, Any, None]]) -> str:
    """The state of one dependency. A check that does not end even when cancelled is left alone and not started twice."""
    if name not in _asking or _asking[name].done():
        _asking[name] = asyncio.create_task(check())
    task = _asking[name]
    await asyncio.wait({task}, timeout=DEADLINE_SECONDS)
    if not task.done():
        task.cancel()
        return f"away: no answer within {DEADLINE_SECONDS:.0f} s"
    if task.cancelled():
        return "away: no answer"
    if error := task.exception():
        return str(error) if isinstance(error, NotReady) else f"away: {type(error).__name__}"
    return "ok"


async def _postgresql() -> None:
    async with resources.db.connection(timeout=DEADLINE_SECONDS / 2) as connection:
        await connection.execute("SELECT 1")


async def _migrations() -> None:
    expected = await asyncio.to_thread(_known_migrations)
    async with resources.db.connection(timeout=DEADLINE_SECONDS / 2) as connection:
        cursor = await connection.execute(APPLIED_SQL)
        missing = expected - {(app, name) async for app, name in cursor}
    if missing:
        app, name = min(missing)
        raise NotReady(f"{len(missing)} not applied, the first is {app}.{name}: run `manage.py migrate`")


@functools.cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    """The migrations in this code."""
    return frozenset(MigrationLoader(None).disk_migrations)


async def _redis() -> None:
    await resources.redis_link.ping()


async def _files() -> None:
    if why := await asyncio.to_thread(file_storage.unusable, storages["files"]):
        raise NotReady(why)


async def _embedder() -> None:
    if not await asyncio.to_thread((settings.MODEL_DIR / FOLDER / GRAPH).exists):
        raise NotReady("not built: run `make install`")


urlpatterns = [
    path("", require_safe(head_root)),
    path("healthz", require_safe(healthz)),
    path("readyz", require_safe(readyz)),
    path("metrics", require_safe(metrics)),
]
