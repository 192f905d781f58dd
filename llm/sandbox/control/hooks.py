"""Owns `/control/hooks`: a receiver of webhooks, so that a demonstration and tests need no other server.

Invariant: what was received is kept as it came, headers included, in order of arrival.
"""

import time
from collections import deque
from typing import Any

import orjson
from aiohttp import web

CAPACITY = 10_000
HOOKS: web.AppKey[deque[dict[str, Any]]] = web.AppKey("hooks", deque)


def routes() -> list[web.RouteDef]:
    """Receive and read."""
    return [
        web.post("/control/hooks", receive),
        web.post("/control/hooks/{name}", receive),
        web.get("/control/hooks", received),
    ]


async def receive(request: web.Request) -> web.Response:
    """Keep a webhook; `?status=500` makes the receiver refuse it, after keeping it all the same."""
    raw = await request.read()
    status = request.query.get("status", "200")
    entry = {
        "at": time.time(),
        "name": request.match_info.get("name", ""),
        "headers": {f"{name}": value for name, value in request.headers.items()},
        "body": _parsed(raw),
        "raw": raw.decode("utf-8", "replace"),
    }
    request.app[HOOKS].append(entry)
    return web.Response(status=int(status) if status.isdigit() else 400)


async def received(request: web.Request) -> web.Response:
    """What came, oldest first; `?name=` selects one receiver."""
    name = request.query.get("name")
    hooks = [hook for hook in request.app[HOOKS] if name is None or hook["name"] == name]
    return web.Response(body=orjson.dumps({"hooks": hooks}), content_type="application/json")


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
