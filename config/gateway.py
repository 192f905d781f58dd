"""The lean door of the gateway: Django's request, resolver and response; no signals, middleware, threads.

Invariant: only the gateway's own routes are reachable through it; a client that hangs up cancels its view at
once. Why this exists, and what it measured: docs/decisions/0001-one-lean-door.md.
"""

import asyncio
from typing import Any

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.urls import set_script_prefix


class Answered(Exception):
    """The response is out: stop listening for a hang-up."""


class GatewayHandler(ASGIHandler):
    """An ASGI application for async views that never touch the ORM: those of one URL configuration."""

    def __init__(self, urlconf: str) -> None:
        self.urlconf = urlconf
        super().__init__()

    def load_middleware(self, is_async: bool = True) -> None:
        none: list[Any] = []
        self._view_middleware = self._template_response_middleware = self._exception_middleware = none
        self._middleware_chain = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
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
