"""The ASGI handler of the gateway: Django's request, resolver and response, without signals, middleware and threads.

Invariant: only the gateway's own routes are reachable through it. When a client hangs up, its view is cancelled
immediately. A body is read only after its sender is identified, and only up to the view's limit. A call counts in the
call queue from before its body is read until its answer is sent, so that waiting calls cost no memory. Callers that are
not known yet wait in a small queue of their own (`strangers`). Why this exists, and what it measured:
docs/decisions/0001-one-lean-door.md and 0024-nobody-stops-the-loop.md.
"""

import asyncio
from io import SEEK_END, BytesIO
from typing import Any, Protocol

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import ResolverMatch, get_resolver, set_script_prefix, set_urlconf

from config.door import bodies, encodings
from config.door.bodies import BodyTooLarge, BodyTooSlow
from config.door.call_queue import CallQueue, TurnedAway
from config.door.encodings import BadlyEncoded, UnknownEncoding

LARGEST_BODY_BYTES = 64 * 1024  # of a view that does not say otherwise
# how much of a body is read and discarded after a refusal: most clients send all of it before they read the answer
SMALL_BODY_BYTES, SMALL_BODY_SECONDS = 64 * 1024, 0.05
STRANGERS_UNREAD = 16 * 1024 * 1024, 1.0
CALLERS_UNREAD = 64 * 1024 * 1024, 5.0


class Answered(Exception):
    """The response is sent: stop listening for a disconnect."""


class Refused(Exception):
    """The call is refused before its view runs, for this reason."""

    def __init__(self, reason: Exception, *, is_stranger: bool) -> None:
        super().__init__(str(reason))
        self.reason, self.is_stranger = reason, is_stranger


class NoWebsockets(Exception):
    """The client asked for a websocket. This is refused before the caller is identified."""


class Host(Protocol):
    """Identifies callers, and renders the answer to a refused call."""

    def recognises(self, request: HttpRequest) -> bool:
        """Whether the caller is known, from memory only."""
        ...

    async def identify(self, request: HttpRequest) -> None:
        """Identify the caller. Raises what `refuse` can render."""
        ...

    async def refuse(self, request: HttpRequest, reason: Exception) -> HttpResponse:
        """The answer to a refused call: the reason comes from the queue, from the body, or from `identify`."""
        ...


class GatewayHandler(ASGIHandler):
    """An ASGI application for the async views of one URL configuration, which never touch the ORM.

    Without a host all callers are accepted; without a queue there is no limit.
    """

    def __init__(
        self,
        urlconf: str,
        *,
        queue: CallQueue | None = None,
        strangers: CallQueue | None = None,
        host: Host | None = None,
    ) -> None:
        self.urlconf = urlconf
        self.queue, self.strangers = queue, strangers
        self.host = host
        super().__init__()

    def load_middleware(self, is_async: bool = True) -> None:
        none: list[Any] = []
        self._view_middleware = self._template_response_middleware = self._exception_middleware = none
        self._middleware_chain = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """The view of the request; resolved once."""
        set_urlconf(self.urlconf)
        if request.resolver_match is None:
            request.resolver_match = get_resolver(self.urlconf).resolve(request.path_info)
        return request.resolver_match

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        set_script_prefix(get_script_prefix(scope))
        request, error = self.create_request(scope, BytesIO())
        if request is None:
            await self._answer_before_body(error, receive, send)
            return
        request.urlconf = self.urlconf
        try:
            await self._handle(request, receive, send)
        except Http404:
            response = await self.run_get_response(request)
            await self._answer_before_body(response, receive, send, is_waiting=_is_waiting(request))
        except Refused as refused:
            await self._refuse(request, refused, receive, send)
        except RequestAborted:
            pass

    async def _handle(self, request: Any, receive: Any, send: Any) -> None:
        view = getattr(self.resolve_request(request).func, "view_class", None)
        if request.META.get("HTTP_UPGRADE", "").lower() == "websocket":
            raise Refused(NoWebsockets(), is_stranger=True)
        largest = int(getattr(view, "max_body_bytes", LARGEST_BODY_BYTES))
        if self.host is not None and not self.host.recognises(request):
            await self._identify(self.host, request)
        try:
            bodies.check_announced(request.META.get("CONTENT_LENGTH", ""), largest=largest)
            encoded_by = encodings.encodings_of(request.META.get("HTTP_CONTENT_ENCODING", ""))
            if self.queue is not None:
                await self.queue.enter()
            try:
                body = await bodies.read(receive, largest=largest)
                if encoded_by:
                    body = await encodings.decoded(body, encoded_by, largest=largest)
                    request.META["CONTENT_LENGTH"] = str(body.seek(0, SEEK_END))
                    body.seek(0)
                with body as request._stream:
                    await self._serve(request, receive, send)
            finally:
                if self.queue is not None:
                    self.queue.leave()
        except (TurnedAway, BodyTooLarge, BodyTooSlow, UnknownEncoding, BadlyEncoded) as reason:
            raise Refused(reason, is_stranger=False) from reason

    async def _identify(self, host: Host, request: HttpRequest) -> None:
        try:
            if self.strangers is not None:
                await self.strangers.enter()
            try:
                await host.identify(request)
            finally:
                if self.strangers is not None:
                    self.strangers.leave()
        except Exception as reason:
            raise Refused(reason, is_stranger=True) from reason

    async def _serve(self, request: Any, receive: Any, send: Any) -> None:
        async def answer() -> None:
            response = await self.run_get_response(request)
            await self.send_response(response, send)
            raise Answered

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.listen_for_disconnect(receive))
                group.create_task(answer())
        except* (Answered, RequestAborted):
            pass

    async def _refuse(self, request: HttpRequest, refused: Refused, receive: Any, send: Any) -> None:
        reason = refused.reason
        if self.host is None:
            response = HttpResponse(str(reason), status=413 if isinstance(reason, BodyTooLarge) else 503)
        else:
            response = await self.host.refuse(request, reason)
        is_stranger, is_waiting = refused.is_stranger, _is_waiting(request)
        await self._answer_before_body(
            response, receive, send, is_stranger=is_stranger, is_waiting=is_waiting
        )

    async def _answer_before_body(
        self,
        response: Any,
        receive: Any,
        send: Any,
        *,
        is_stranger: bool = True,
        is_waiting: bool = False,
    ) -> None:
        """Answer before the body is read.

        The client may still be sending and read the answer only afterwards. Therefore some of the body is read and
        discarded before the connection is closed. A client that waits for `100 Continue` (`is_waiting`) sends nothing.
        """
        if is_waiting:
            response.headers["connection"] = "close"
            await self.send_response(response, send)
            return
        is_all = await bodies.discard(receive, most=SMALL_BODY_BYTES, seconds=SMALL_BODY_SECONDS)
        if not is_all:
            response.headers["connection"] = "close"
        await self.send_response(response, send)
        if not is_all:
            most, seconds = STRANGERS_UNREAD if is_stranger else CALLERS_UNREAD
            await bodies.discard(receive, most=most, seconds=seconds)


def _is_waiting(request: HttpRequest) -> bool:
    """Whether the client waits for `100 Continue` before it sends the body."""
    return str(request.META.get("HTTP_EXPECT", "")).lower() == "100-continue"
