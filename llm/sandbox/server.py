"""Owns the sandbox's process: its routes, its socket and its end.

Invariant: it serves until SIGTERM or SIGINT, then closes the call log and exits 0.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from llm import tokens
from llm.sandbox import chat, completions, control, messages
from llm.sandbox.delivery import SANDBOX, endpoint
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, OPENAI, Handler
from llm.sandbox.state import Sandbox, Settings

LARGEST_BODY = 512 * 1024 * 1024
SHUTDOWN_SECONDS = 1.0


def build_app(sandbox: Sandbox) -> web.Application:
    """All endpoints of both providers, and the control endpoints."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_unknown_paths])
    app[SANDBOX] = sandbox
    for path, handler, kind in POSTS:
        app.router.add_post(path, endpoint(handler, kind=kind))
    app.add_routes(control.routes())
    return app


def run(*, host: str, port: int, settings: Settings, seed: int | None, log: Path | None) -> None:
    """Serve until a signal."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    sandbox = Sandbox(settings=settings, seed=seed, log=log)
    tokens.count_text("warm", "gpt-4o")
    tokens.count_text("warm", "text-embedding-3-small")
    uvloop.run(_serve(sandbox, host=host, port=port))


POSTS: tuple[tuple[str, Handler, str], ...] = (
    ("/v1/chat/completions", chat.create_chat, OPENAI),
    ("/v1/completions", completions.create_completion, OPENAI),
    ("/v1/messages", messages.create_message, ANTHROPIC),
    ("/v1/messages/count_tokens", messages.count_tokens, ANTHROPIC),
)


async def _serve(sandbox: Sandbox, *, host: str, port: int) -> None:
    app = build_app(sandbox)
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=75,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=4_096)
    await site.start()
    bound = runner.addresses[0][1]
    print(f"sandbox listening on http://{host}:{bound}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    with contextlib.suppress(asyncio.TimeoutError):
        await runner.cleanup()
    sandbox.calls.close()


@web.middleware
async def _unknown_paths(request: web.Request, handler: Handler) -> web.StreamResponse:  # type: ignore[type-arg]
    """Unknown paths and methods answer like a provider does."""
    try:
        return await handler(request)  # type: ignore[arg-type]
    except web.HTTPException as error:
        if error.status not in (404, 405, 413):
            raise
        message = f"Invalid URL ({request.method} {request.path})" if error.status != 413 else ""
        kind = ANTHROPIC if request.path.startswith("/v1/messages") else OPENAI
        body = ProviderError(error.status, message, code="unknown_url" if kind == OPENAI else None).body(
            kind, "req_none"
        )
        return web.Response(status=error.status, body=orjson.dumps(body), content_type="application/json")
