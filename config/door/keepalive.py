"""Keeps open streams alive while the provider sends nothing: proxies and clients close a silent stream.

Invariant: a keep-alive is sent only between two complete events, in a form that every SDK skips: Anthropic's `ping`, or
an SSE comment. For an active stream only the time of its last message is recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

Application = Callable[[Any, Any, Any], Awaitable[None]]

PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
COMMENT: Final = b": keep-alive\n\n"
_ENDS_OF_EVENTS: Final = (b"\n\n", b"\r\n\r\n")


def with_keepalive(application: Application, *, seconds: float) -> Application:
    """The application, whose event streams send something at least every `seconds`; unchanged for 0."""
    if seconds <= 0:
        return application

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        stream = _Stream(send, PING if scope["path"].startswith("/v1/messages") else COMMENT, seconds)
        try:
            await application(scope, receive, stream.send)
        finally:
            stream.stop()

    return middleware


class _Stream:
    """One response. An event stream has a task that sends the keep-alives."""

    def __init__(self, send: Any, keepalive: bytes, seconds: float) -> None:
        self._send, self._keepalive, self._seconds = send, keepalive, seconds
        self._sent_at = 0.0
        self._is_between_events = False
        self._watching: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def send(self, message: Any) -> None:
        if self._watching is None:
            await self._send(message)
            if message["type"] == "http.response.start" and _is_stream(message):
                self._watching = asyncio.create_task(self._watch())
            return
        async with self._turn:
            if not message.get("more_body", False):
                self.stop()
            await self._send(message)
        if body := message.get("body", b""):
            self._is_between_events = body.endswith(_ENDS_OF_EVENTS)
        self._sent_at = asyncio.get_running_loop().time()

    def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        self._sent_at = clock()
        while True:
            if (left := self._sent_at + self._seconds - clock()) > 0:
                await asyncio.sleep(left)
                continue
            if self._is_between_events and not self._turn.locked():  # else a slow reader has enough to read
                async with self._turn:
                    try:
                        await self._send(
                            {"type": "http.response.body", "body": self._keepalive, "more_body": True}
                        )
                    except (OSError, RuntimeError):  # the client has disconnected
                        return
            self._sent_at = clock()


def _is_stream(message: Any) -> bool:
    kind = next((value for name, value in message["headers"] if name == b"content-type"), b"")
    return bool(kind.startswith(b"text/event-stream"))
