"""The lean door of the gateway: Django's request, resolver and response; no signals, middleware, threads.

Invariant: only the gateway's own routes are reachable through it; a client that hangs up cancels its view at
once. Behind a gate a call is inside from before its body is read until its answer is out, so that neither a line nor
a crowd costs memory. Why this exists, and what it measured: docs/decisions/0001-one-lean-door.md.
"""

import asyncio
from io import BytesIO
from typing import Any

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.urls import get_resolver, set_script_prefix

from config.gate import Gate, TurnedAway

# what is read, and thrown away, of a call that is turned away: closing before would cost its sender our answer
LARGEST_UNREAD_BYTES = 1024 * 1024
LONGEST_UNREAD_SECONDS = 1.0


class Answered(Exception):
    """The response is out: stop listening for a hang-up."""


class GatewayHandler(ASGIHandler):
    """An ASGI application for async views that never touch the ORM: those of one URL configuration.

    With a gate, who finds no room gets what the URL configuration's `handler503(request, turned_away)` says.
    """

    def __init__(self, urlconf: str, *, gate: Gate | None = None) -> None:
        self.urlconf = urlconf
        self.gate = gate
        super().__init__()

    def load_middleware(self, is_async: bool = True) -> None:
        none: list[Any] = []
        self._view_middleware = self._template_response_middleware = self._exception_middleware = none
        self._middleware_chain = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.gate is None:
            await self._serve(scope, receive, send)
            return
        try:
            await self.gate.enter()
        except TurnedAway as turned_away:
            await self._turn_away(scope, receive, send, turned_away)
            return
        try:
            await self._serve(scope, receive, send)
        finally:
            self.gate.leave()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            set_script_prefix(get_script_prefix(scope))
            request, error = self.create_request(scope, body)

            async def answer() -> None:
                if request is not None:
                    request.urlconf = self.urlconf
                response = error or await self.run_get_response(request)  # type: ignore[arg-type]
                await self.send_response(response, send)
                raise Answered

            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.listen_for_disconnect(receive))
                    group.create_task(answer())
            except* (Answered, RequestAborted):
                pass

    async def _turn_away(self, scope: Any, receive: Any, send: Any, turned_away: TurnedAway) -> None:
        await _throw_body_away(receive)
        set_script_prefix(get_script_prefix(scope))
        request, error = self.create_request(scope, BytesIO())
        refuse: Any = get_resolver(self.urlconf).resolve_error_handler(503)
        await self.send_response(error or await refuse(request, turned_away), send)


async def _throw_body_away(receive: Any) -> None:
    size = 0
    try:
        async with asyncio.timeout(LONGEST_UNREAD_SECONDS):
            while size <= LARGEST_UNREAD_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        pass
