"""The line to one client: what a stream puts into it is written to the client at once, by the stream's own task.

Invariant: nothing is kept here. A client that reads slowly holds up the stream, and so slows its provider down. One that takes
nothing for too long, or is gone, is cut off, once and for all: then the stream goes on without it, and is held up by nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from config.alarm import Alarm
from config.door.responses import Write

log = structlog.get_logger(__name__)


class Line:
    """One stream writes, one client reads. `on_cut` is called when the client is cut off before the stream's end."""

    __slots__ = (
        "_alarm",
        "_client",
        "_end",
        "_is_over",
        "_is_waiting",
        "_on_cut",
        "_patience_seconds",
        "_stream",
        "_write",
        "is_cut",
    )

    def __init__(self, *, patience_seconds: float, on_cut: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.is_cut = False
        self._on_cut = on_cut
        self._patience_seconds = patience_seconds
        self._alarm = Alarm(self.cut)
        self._write: Write | None = None
        self._client: asyncio.Future[None] = loop.create_future()  # done when it is there
        self._end: asyncio.Future[None] = loop.create_future()  # is cancelled with who waits for it
        self._is_over = False
        self._stream: asyncio.Task[Any] | None = None
        self._is_waiting = False

    async def carry(self, write: Write) -> None:
        """Write to this client what is put, until the end. A client that is gone is one that this is cancelled for."""
        self._write = write
        if not self._client.done():
            self._client.set_result(None)
        try:
            await self._end
        finally:
            self.cut()

    async def put(self, chunk: bytes) -> None:
        """Write a chunk, once there is a client and it has room. Never raises for the client."""
        if self.is_cut:
            return
        self._stream = self._stream or asyncio.current_task()
        self._is_waiting = True
        self._alarm.set(self._patience_seconds)
        try:
            if self._write is None:
                await self._client
                assert self._write is not None
            await self._write(chunk)
        except asyncio.CancelledError:
            if not self.is_cut:
                raise
            assert self._stream is not None
            if self._stream.uncancel():  # somebody else wants it to end, too
                raise
        except Exception as error:
            log.info("client_not_written_to", error=type(error).__name__)
            self._is_waiting = False
            self.cut()
        finally:
            self._is_waiting = False
            self._alarm.clear()

    def hurry(self, *, patience_seconds: float) -> None:
        """From now on, wait only so long for the client: the end is near."""
        self._patience_seconds = patience_seconds
        if self._is_waiting:
            self._alarm.set(patience_seconds)

    def end(self) -> None:
        """Nothing more is put."""
        self._is_over = True
        self._alarm.close()
        if not self._end.done():
            self._end.set_result(None)

    def cut(self) -> None:
        """The client is gone, or counts as gone."""
        if self._is_over:
            return
        self.is_cut = True
        self._on_cut()
        if self._is_waiting and self._stream is not None:
            self._is_waiting = False  # it is us who cancel
            self._stream.cancel()
        self.end()
