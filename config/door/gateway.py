"""The ASGI handler of the gateway: Django's routes and views, without its handler, signals, middleware and threads.

Invariant: only the gateway's own routes are reachable through it. When a client hangs up, its view is cancelled. A
body is read only after its sender is identified, and only up to the view's limit. A call counts in the
call queue from before its body is read until its answer is sent, so that waiting calls cost no memory. Callers that are
not known yet wait in a small queue of their own (`strangers`). Why this exists, and what it measured:
docs/decisions/0001-one-lean-door.md, 0024-nobody-stops-the-loop.md, 0039-the-way-in-and-out.md and
0048-a-stream-in-one-task.md.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Protocol

from django.core.exceptions import RequestAborted
from django.core.handlers.exception import response_for_exception
from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.urls import URLPattern, get_resolver, set_urlconf
from django.utils.log import log_response

from config.door import bodies, encodings
from config.door.bodies import OF_THE_BODY, BodyTooLarge, BodyTooSlow
from config.door.call_queue import CallQueue, TurnedAway
from config.door.encodings import BadlyEncoded, UnknownEncoding
from config.door.hang_ups import until_hang_up
from config.door.requests import GatewayRequest
from config.door.responses import Response, send_response

View = Callable[..., Awaitable[Response]]

LARGEST_BODY_BYTES = 64 * 1024  # of a view that does not say otherwise
# how much of a body is read and discarded after a refusal: most clients send all of it before they read the answer
SMALL_BODY_BYTES, SMALL_BODY_SECONDS = 64 * 1024, 0.05
STRANGERS_UNREAD = 16 * 1024 * 1024, 1.0
CALLERS_UNREAD = 64 * 1024 * 1024, 5.0


class Refused(Exception):
    """The call is refused before its view runs, for this reason."""

    def __init__(self, reason: Exception, *, is_stranger: bool) -> None:
        super().__init__(str(reason))
        self.reason, self.is_stranger = reason, is_stranger


class NoWebsockets(Exception):
    """The client asked for a websocket. This is refused before the caller is identified."""


class Host(Protocol):
    """Identifies callers, and renders the answer to a refused call."""

    def recognises(self, request: GatewayRequest) -> bool:
        """Whether the caller is known, from memory only; then it is the request's `caller`."""
        ...

    async def identify(self, request: GatewayRequest) -> None:
        """Identify the `caller`. Raises what `refuse` can render."""
        ...

    async def refuse(self, request: GatewayRequest, reason: Exception) -> HttpResponse:
        """The answer to a refused call: the reason comes from the queue, from the body, or from `identify`."""
        ...


class GatewayHandler:
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

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            request = GatewayRequest(scope)
        except UnicodeDecodeError:
            await _answer_before_body(HttpResponseBadRequest(), receive, send)
            return
        try:
            await self._handle(request, receive, send)
        except Http404 as error:
            response = self._failed(request, error)
            await _answer_before_body(response, receive, send, is_waiting=request.is_waiting)
        except Refused as refused:
            await self._refuse(request, refused, receive, send)
        except RequestAborted:
            pass

    async def _handle(self, request: GatewayRequest, receive: Any, send: Any) -> None:
        view, named = route_of(request.path, urlconf=self.urlconf)
        if request.is_for_a_websocket:
            raise Refused(NoWebsockets(), is_stranger=True)
        view_class = getattr(view, "view_class", None)
        largest = int(getattr(view_class, "max_body_bytes", LARGEST_BODY_BYTES))
        is_streamed = request.method == "POST" and getattr(view_class, "is_body_streamed", False)
        if self.host is not None and not self.host.recognises(request):
            await self._identify(self.host, request)
        try:
            announced = request.headers.get("content-length", "")
            bodies.check_announced(announced, largest=largest)
            encoded_by = encodings.encodings_of(request.headers.get("content-encoding", ""))
            if self.queue is not None:
                await self.queue.enter()
            try:
                if is_streamed and not encoded_by:
                    await self._stream(view, request, named, receive, send, largest=largest)
                    return
                if "transfer-encoding" in request.headers:
                    announced = ""
                body = await bodies.read(receive, largest=largest, announced=announced)
                if encoded_by:
                    body = await encodings.decoded(body, encoded_by, largest=largest)
                with body:
                    request.take(body, is_decoded=bool(encoded_by))
                    with until_hang_up(receive):
                        await send_response(await self._response(view, request, named), send)
            finally:
                if self.queue is not None:
                    self.queue.leave()
        except (TurnedAway, BodyTooLarge, BodyTooSlow, UnknownEncoding, BadlyEncoded) as reason:
            raise Refused(reason, is_stranger=False) from reason

    async def _stream(
        self,
        view: View,
        request: GatewayRequest,
        named: dict[str, Any],
        receive: Any,
        send: Any,
        *,
        largest: int,
    ) -> None:
        """Answer a call whose view reads the body while it arrives."""
        body = request.arriving = bodies.ArrivingBody(receive, largest=largest)
        with until_hang_up(body.hang_up):
            response = await self._response(view, request, named)
            if body.is_over:
                await send_response(response, send)
        if not body.is_over:
            is_waiting = request.is_waiting and not body.has_begun
            await _answer_before_body(response, receive, send, is_stranger=False, is_waiting=is_waiting)

    async def _identify(self, host: Host, request: GatewayRequest) -> None:
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

    async def _response(self, view: View, request: GatewayRequest, named: dict[str, Any]) -> Response:
        try:
            response = await view(request, **named)
        except OF_THE_BODY:
            raise
        except Exception as error:
            return self._failed(request, error)
        if isinstance(response, HttpResponse) and response.status_code >= 400:
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)
        return response

    def _failed(self, request: GatewayRequest, error: Exception) -> HttpResponse:
        """What the URL configuration answers for an error that no view handled."""
        set_urlconf(self.urlconf)
        return response_for_exception(request, error)

    async def _refuse(self, request: GatewayRequest, refused: Refused, receive: Any, send: Any) -> None:
        reason = refused.reason
        if self.host is None:
            response = HttpResponse(str(reason), status=413 if isinstance(reason, BodyTooLarge) else 503)
        else:
            response = await self.host.refuse(request, reason)
        is_stranger, is_waiting = refused.is_stranger, request.is_waiting
        await _answer_before_body(response, receive, send, is_stranger=is_stranger, is_waiting=is_waiting)


def route_of(path: str, *, urlconf: str) -> tuple[View, dict[str, Any]]:
    """The view of a path, and what the path names; raises Http404."""
    if view := _fixed_routes(urlconf).get(path):
        return view, {}
    match = get_resolver(urlconf).resolve(path)
    return match.func, match.kwargs


@cache
def _fixed_routes(urlconf: str) -> dict[str, View]:
    """The views of the paths in which nothing varies: most calls go there."""
    routes = [route for route in get_resolver(urlconf).url_patterns if isinstance(route, URLPattern)]
    return {f"/{route.pattern}": route.callback for route in routes if not route.pattern.converters}


async def _answer_before_body(
    response: Response,
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
        await send_response(response, send)
        return
    is_all = await bodies.discard(receive, most=SMALL_BODY_BYTES, seconds=SMALL_BODY_SECONDS)
    if not is_all:
        response.headers["connection"] = "close"
    await send_response(response, send)
    if not is_all:
        most, seconds = STRANGERS_UNREAD if is_stranger else CALLERS_UNREAD
        await bodies.discard(receive, most=most, seconds=seconds)
