"""Owns the sandbox's process: its routes, its socket and its end.

Invariant: it serves until SIGTERM or SIGINT, then closes the call log and exits 0.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from llm.sandbox import azure, models
from llm.sandbox.anthropic import message_batches, messages
from llm.sandbox.behaviours import behaviours
from llm.sandbox.control import costs, hooks
from llm.sandbox.control import endpoints as control
from llm.sandbox.delivery import SANDBOX, endpoint
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, OPENAI, Handler
from llm.sandbox.openai import batches, chat, completions, embeddings, files, responses
from llm.sandbox.state import Sandbox, Settings
from llm.tokens import counting

LARGEST_BODY = 512 * 1024 * 1024
SHUTDOWN_SECONDS = 1.0


def build_app(sandbox: Sandbox) -> web.Application:
    """All endpoints of the providers, and the control endpoints."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_unknown_paths])
    app[SANDBOX] = sandbox
    for method, path, handler, kind, has_json in ROUTES:
        app.router.add_route(method, path, endpoint(handler, kind=kind, has_json=has_json))
    app[hooks.HOOKS] = deque(maxlen=hooks.CAPACITY)
    app.add_routes(control.routes())
    app.add_routes(hooks.routes())
    return app


def run(*, host: str, port: int, settings: Settings, seed: int | None, log: Path | None) -> None:
    """Serve until a signal."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    behaviours()
    sandbox = Sandbox(settings=settings, seed=seed, log=log)
    counting.count_text("warm", "gpt-4o")
    counting.count_text("warm", "text-embedding-3-small")
    uvloop.run(_serve(sandbox, host=host, port=port))


# method, path, handler, wire format (None: the call's headers say which), whether the body is JSON
ROUTES: tuple[tuple[str, str, Handler, str | None, bool], ...] = (
    ("POST", "/v1/chat/completions", chat.create_chat, OPENAI, True),
    ("POST", "/v1/completions", completions.create_completion, OPENAI, True),
    ("POST", "/v1/responses", responses.create_response, OPENAI, True),
    ("POST", "/v1/responses/input_tokens", responses.count_input_tokens, OPENAI, True),
    ("GET", "/v1/responses/{response_id}", responses.retrieve_response, OPENAI, False),
    ("DELETE", "/v1/responses/{response_id}", responses.delete_response, OPENAI, False),
    ("POST", "/v1/responses/{response_id}/cancel", responses.cancel_response, OPENAI, False),
    ("GET", "/v1/responses/{response_id}/input_items", responses.list_input_items, OPENAI, False),
    ("POST", "/v1/embeddings", embeddings.create_embeddings, OPENAI, True),
    ("GET", "/v1/models", models.list_models, None, False),
    ("GET", "/v1/models/{model:.+}", models.retrieve_model, None, False),
    ("POST", "/v1/files", files.upload_file, OPENAI, False),
    ("GET", "/v1/files", files.list_files, OPENAI, False),
    ("GET", "/v1/files/{file_id}", files.retrieve_file, OPENAI, False),
    ("GET", "/v1/files/{file_id}/content", files.read_file, OPENAI, False),
    ("DELETE", "/v1/files/{file_id}", files.delete_file, OPENAI, False),
    ("POST", "/v1/batches", batches.create_batch, OPENAI, True),
    ("GET", "/v1/batches", batches.list_batches, OPENAI, False),
    ("GET", "/v1/batches/{batch_id}", batches.retrieve_batch, OPENAI, False),
    ("POST", "/v1/batches/{batch_id}/cancel", batches.cancel_batch, OPENAI, False),
    ("GET", "/v1/organization/costs", costs.openai_costs, OPENAI, False),
    ("POST", "/v1/messages", messages.create_message, ANTHROPIC, True),
    ("POST", "/v1/messages/count_tokens", messages.count_tokens, ANTHROPIC, True),
    ("POST", "/v1/messages/batches", message_batches.create_message_batch, ANTHROPIC, True),
    ("GET", "/v1/messages/batches", message_batches.list_message_batches, ANTHROPIC, False),
    ("GET", "/v1/messages/batches/{batch_id}", message_batches.retrieve_message_batch, ANTHROPIC, False),
    ("DELETE", "/v1/messages/batches/{batch_id}", message_batches.delete_message_batch, ANTHROPIC, False),
    ("GET", "/v1/messages/batches/{batch_id}/results", message_batches.read_results, ANTHROPIC, False),
    (
        "POST",
        "/v1/messages/batches/{batch_id}/cancel",
        message_batches.cancel_message_batch,
        ANTHROPIC,
        False,
    ),
    ("GET", "/v1/organizations/cost_report", costs.anthropic_costs, ANTHROPIC, False),
    ("GET", "/v1/organizations/usage_report/messages", costs.anthropic_usage, ANTHROPIC, False),
    ("GET", "/openai/models", azure.list_models, OPENAI, False),
    *(("POST", path, handler, OPENAI, True) for path, handler in azure.ROUTES),
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
async def _unknown_paths(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Unknown paths and methods answer like a provider does."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status not in (404, 405, 413):
            raise
        status = 413 if error.status == 413 else 404
        message = "" if status == 413 else f"Invalid URL ({request.method} {request.path})"
        kind = ANTHROPIC if request.path.startswith("/v1/messages") else OPENAI
        body = ProviderError(status, message, code=None if kind == ANTHROPIC else "unknown_url").body(
            kind, ""
        )
        return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
