"""Owns `/control`: how tests read the provider's invoice, order faults and set the pace.

Invariant: nothing here is part of a provider's API; nothing here is logged as a call.
"""

from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.behaviours import behaviours
from llm.sandbox.control.hooks import HOOKS
from llm.sandbox.delivery import SANDBOX
from llm.sandbox.faults import InvalidFault
from llm.sandbox.state import InvalidSetting


def routes() -> list[web.RouteDef]:
    """The control endpoints."""
    return [
        web.get("/control/calls", calls),
        web.get("/control/calls/{call_id}/body", body),
        web.get("/control/faults", faults),
        web.get("/control/behaviours", list_behaviours),
        web.post("/control/faults", order_faults),
        web.post("/control/answers", learn_answers),
        web.post("/control/reset", reset),
        web.get("/control/settings", settings),
        web.post("/control/settings", change_settings),
        web.get("/healthz", health),
    ]


async def calls(request: web.Request) -> web.Response:
    """Calls received, oldest first: any field, or `tag`, filters; `since` is a time, `limit` keeps the last."""
    wanted = dict(request.query)
    limit, since = wanted.pop("limit", ""), wanted.pop("since", "0")
    try:
        found = request.app[SANDBOX].calls.select(
            wanted, since=float(since), limit=int(limit) if limit else None
        )
    except ValueError:
        return _json({"error": "`since` and `limit` are numbers"}, status=400)
    return _json({"calls": found, "count": len(found)})


async def body(request: web.Request) -> web.Response:
    """The body of one of the latest calls, byte for byte."""
    raw = request.app[SANDBOX].calls.body_of(request.match_info["call_id"])
    return web.Response(body=raw, content_type="application/octet-stream")


async def faults(request: web.Request) -> web.Response:
    """Faults still waiting."""
    return _json({"faults": [asdict(fault) for fault in request.app[SANDBOX].faults.waiting()]})


async def order_faults(request: web.Request) -> web.Response:
    """Queue one fault or a list of them; a bad one is a 400 and none is queued."""
    body = _parsed(await request.read())
    sandbox = request.app[SANDBOX]
    try:
        ordered = sandbox.faults.order(body if isinstance(body, list) else [body])
    except InvalidFault as error:
        return _json({"error": str(error)}, status=400)
    return _json({"queued": [asdict(fault) for fault in ordered]})


async def list_behaviours(request: web.Request) -> web.Response:
    """The catalogue of what other servers answer, without the answers."""
    listed = [
        {
            "name": behaviour.name,
            "path": behaviour.path,
            "kinds": ["stream" if is_stream else "whole" for is_stream in sorted(behaviour.scripts)],
            "odd": behaviour.odd,
            "right": behaviour.right,
        }
        for behaviour in behaviours().values()
    ]
    return _json({"behaviours": listed})


async def reset(request: web.Request) -> web.Response:
    """Forget everything, or with {"match": {...}} only the calls and faults that match."""
    body = _parsed(await request.read())
    match = body.get("match") if isinstance(body, dict) else None
    request.app[SANDBOX].reset(match if isinstance(match, dict) else {})
    if not match:
        request.app[HOOKS].clear()
    return _json({"reset": True})


async def settings(request: web.Request) -> web.Response:
    """The settings in force."""
    return _json(asdict(request.app[SANDBOX].settings))


async def change_settings(request: web.Request) -> web.Response:
    """Change some of the settings; answers with all of them."""
    try:
        return _json(request.app[SANDBOX].change_settings(_parsed(await request.read())))
    except InvalidSetting as error:
        return _json({"error": str(error)}, status=400)


async def learn_answers(request: web.Request) -> web.Response:
    """Take answers to questions: {question: answer}, byte for byte, of every model."""
    try:
        return _json({"known": request.app[SANDBOX].learn_answers(_parsed(await request.read()))})
    except InvalidSetting as error:
        return _json({"error": str(error)}, status=400)


async def health(request: web.Request) -> web.Response:
    """Whether the sandbox serves, and how many calls it remembers."""
    sandbox = request.app[SANDBOX]
    return _json({"status": "ok", "calls": len(sandbox.calls), "started_at": sandbox.started_at})


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        return None


def _json(payload: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(payload), content_type="application/json")
