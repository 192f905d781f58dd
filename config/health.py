"""`/healthz`, `/readyz` and `/metrics`: what a load balancer, an operator and Prometheus ask.

Invariant: answering never hangs: each dependency is asked with a deadline. Redis away is degraded, not
unready: requests still succeed without it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from config import resources

DEADLINE_SECONDS = 2.0
# tables of the last migrations: while one is absent, the code is newer than the database
APPLIED = "SELECT app || '.' || name FROM django_migrations"


async def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> HttpResponse:
    """This process can serve calls; each dependency by name."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "postgresql": _postgresql,
        "embedder": _embedder,
        "redis": _redis,
    }
    states = dict(
        zip(checks, await asyncio.gather(*(_state(check) for check in checks.values())), strict=True)
    )
    is_ready = states["postgresql"] == "ok"
    status = (
        "ok" if all(state == "ok" for state in states.values()) else "degraded" if is_ready else "unready"
    )
    return JsonResponse({"status": status, "dependencies": states}, status=200 if is_ready else 503)


async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text, summed over this machine's workers."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


async def _state(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await check()
    except Exception as error:
        return f"away: {type(error).__name__}"
    return "ok"


async def _postgresql() -> None:
    async with resources.db.connection(timeout=DEADLINE_SECONDS) as connection:
        await connection.execute("SELECT 1 FROM tenants_tenant LIMIT 0")


async def _redis() -> None:
    await resources.redis.ping()


async def _embedder() -> None:
    if not await asyncio.to_thread((settings.MODEL_DIR / "minilm-l6-v2" / "int8.onnx").exists):
        raise FileNotFoundError("run `make install`")
