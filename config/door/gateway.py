"""The lean door of the gateway: Django's request, resolver and response; no signals, middleware, threads.

Invariant: only the gateway's own routes are reachable through it; a client that hangs up cancels its view at
once. Nothing of a body is read before it is known who sends it, and never more than the view takes. Behind a queue a call
is inside from before its body is read until its answer is out, so that neither a line nor a crowd costs memory; who is
not recognised yet stands before a small queue of the strangers'. Why this exists, and what it measured:
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
# what is taken of a body that nobody reads: most clients send it whole before they listen
SMALL_BODY_BYTES, SMALL_BODY_SECONDS = 64 * 1024, 0.05
STRANGERS_UNREAD = 16 * 1024 * 1024, 1.0
CALLERS_UNREAD = 64 * 1024 * 1024, 5.0


class Answered(Exception):
    """The response is out: stop listening for a hang-up."""


class Refused(Exception):
    """The call ends at the door, for this reason."""

    def __init__(self, reason: Exception, *, is_stranger: bool) -> None:
        super().__init__(str(reason))
        self.reason, self.is_stranger = reason, is_stranger


class NoWebsockets(Exception):
    """A websocket was asked for. Whoever asks may be told so before it is known who it is."""


class Host(Protocol):
    """Who knows the callers, and words what is said to those who do not come in."""

    def recognises(self, request: HttpRequest) -> bool:
        """Whether the caller is known already, from memory."""
        ...

    async def identify(self, request: HttpRequest) -> None:
        """Find out who calls; raises what `refuse` can word."""
        ...

    async def refuse(self, request: HttpRequest, reason: Exception) -> HttpResponse:
        """The answer to a call that ends at the door: for the queue's reason, the body's, or what `identify` raised."""
        ...


class GatewayHandler(ASGIHandler):
    """An ASGI application for async views that never touch the ORM: those of one URL configuration.

    Without a host everybody may come in, and without a queue at any time.
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
        """Where the request goes; found once, at the door."""
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
        """Answer before the body is read. Its sender may be sending still, and hear us only afterwards: so some of it is
        taken, and thrown away, before the connection is closed. Who waits for our leave to send is not asked to."""
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
    """Whether the sender keeps the body back until it hears that it is wanted."""
    return str(request.META.get("HTTP_EXPECT", "")).lower() == "100-continue"
