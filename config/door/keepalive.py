"""Keeps open streams alive while the provider sends nothing: proxies and clients close a silent stream.

Invariant: a keep-alive is sent only between two complete events, in a form that every SDK skips: Anthropic's `ping`, or
an SSE comment. An active stream costs two settings of its alarm for each message, and no task.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from config.alarm import Alarm

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
    """One response. Only an event stream has an alarm, which is set while nothing is being sent."""

    __slots__ = ("_alarm", "_is_between_events", "_keepalive", "_seconds", "_send", "_speaking")

    def __init__(self, send: Any, keepalive: bytes, seconds: float) -> None:
        self._send, self._keepalive, self._seconds = send, keepalive, seconds
        self._is_between_events = False
        self._alarm: Alarm | None = None
        self._speaking: asyncio.Task[None] | None = None

    async def send(self, message: Any) -> None:
        alarm = self._alarm
        if alarm is None:
            await self._send(message)
            if message["type"] == "http.response.start" and _is_stream(message):
                self._alarm = Alarm(self._speak)
                self._alarm.set(self._seconds)
            return
        if self._speaking is not None:  # never two messages at the same time
            await asyncio.wait([self._speaking])
        alarm.clear()
        await self._send(message)
        if body := message.get("body", b""):
            self._is_between_events = body.endswith(_ENDS_OF_EVENTS)
        if message.get("more_body", False):
            alarm.set(self._seconds)
        else:
            self.stop()

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.close()
        if self._speaking is not None:
            self._speaking.cancel()

    def _speak(self) -> None:
        """Nothing was sent for a while, and nothing is being sent."""
        assert self._alarm is not None
        if self._is_between_events:
            self._speaking = asyncio.get_running_loop().create_task(self._send_keepalive())
        else:
            self._alarm.set(self._seconds)

    async def _send_keepalive(self) -> None:
        assert self._alarm is not None
        try:
            await self._send({"type": "http.response.body", "body": self._keepalive, "more_body": True})
        except (OSError, RuntimeError):  # the client has disconnected
            return
        finally:
            self._speaking = None
        self._alarm.set(self._seconds)


def _is_stream(message: Any) -> bool:
    kind = next((value for name, value in message["headers"] if name == b"content-type"), b"")
    return bool(kind.startswith(b"text/event-stream"))
