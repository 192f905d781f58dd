"""The ASGI application, in one process: `/v1` and the probes through `GatewayHandler`, the site through stock Django."""

import gc
import logging
import os
import sys
from typing import Any

if "config.settings" not in sys.modules:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("PURSER_LOGIN", "admin")  # the site's; the gateway has one of its own

from django.conf import settings
from django.core.asgi import get_asgi_application

from config.door.bounded_site import BoundedSite

site = BoundedSite(get_asgi_application())

import llm.providers.announcing  # noqa: E402 registers the service that publishes the accounts' health
import llm.urls  # noqa: E402 the views, and the services they register for the lifespan
import llm.warmup  # noqa: E402, F401
from config.door.call_queue import STRANGERS, STRANGERS_WAITING, CallQueue  # noqa: E402 the apps must be ready first
from config.door.cors import with_cors  # noqa: E402
from config.door.gateway import GatewayHandler  # noqa: E402
from config.door.keepalive import with_keepalive  # noqa: E402
from config.door.paths import address_of  # noqa: E402
from config.resources import resources  # noqa: E402
from config.running import draining, web  # noqa: E402
from config.running.watchdog import watched  # noqa: E402
from config.write_behind import write_behind  # noqa: E402
from llm.views import host  # noqa: E402

queue = CallQueue(
    max_running=settings.MAX_CALLS_IN_FLIGHT,
    max_waiting=settings.MAX_CALLS_WAITING,
    max_wait_seconds=settings.MAX_WAIT_SECONDS,
)
strangers = CallQueue(
    max_running=settings.MAX_STRANGERS,
    max_waiting=settings.MAX_CALLS_WAITING,
    max_wait_seconds=settings.MAX_WAIT_SECONDS,
    gauges=(STRANGERS, STRANGERS_WAITING),
    predicts_wait=False,
)
door = GatewayHandler("llm.urls", queue=queue, strangers=strangers, host=host)
gateway = with_cors(
    with_keepalive(door, seconds=settings.KEEPALIVE_SECONDS), origins=settings.CORS_ALLOWED_ORIGINS
)
for line in (queue, strangers):
    draining.on_stop(line.close)
    write_behind(line.report)
probes = GatewayHandler("config.health")  # probes may use any host name
web.allow_open_files()
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Dispatch by path. The lifespan opens the resources of the event loop."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif (address := address_of(scope["path"])).is_of_the_api:
        scope |= {"path": address.path, "model_of_the_path": address.model}
        await gateway(scope, receive, send)
    elif scope["path"] in PROBES or (scope["path"] == "/" and scope["method"] == "HEAD"):
        await probes(scope, receive, send)
    else:
        await site(scope, receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    is_open = False
    try:
        async with resources(plans_ahead=True), watched():
            is_open = True
            draining.listen()
            _spare_the_collector()
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        logging.getLogger("purser").exception("the event loop's resources failed")
        await send({"type": f"lifespan.{'shutdown' if is_open else 'startup'}.failed", "message": str(error)})
        return
    await send({"type": "lifespan.shutdown.complete"})


def _spare_the_collector() -> None:
    """Keep what start-up made out of every garbage collection: it lives as long as the process. What calls make is freed
    without one, but for little."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
