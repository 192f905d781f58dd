"""Reads the body of a request.

Invariant: never reads more than the largest allowed body, and never for longer than its size justifies: a sender that
stalls or sends too slowly is refused. Discarding a body is bounded too, in bytes and in time.
"""

import asyncio
import tempfile
import time
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestAborted


class BodyTooLarge(Exception):
    """The body has, or announces, more bytes than allowed."""

    def __init__(self, largest: int) -> None:
        super().__init__(f"The body is larger than {largest:,} bytes.")
        self.largest = largest


class BodyTooSlow(Exception):
    """The body did not arrive in the time that its size justifies."""

    def __init__(self, received: int) -> None:
        super().__init__(f"The body came too slowly: {received:,} bytes, and then nothing in time.")
        self.received = received


OF_THE_BODY = (
    BodyTooLarge,
    BodyTooSlow,
    RequestAborted,
)  # what a view may meet that reads a body while it arrives


def check_announced(length: str, *, largest: int) -> None:
    """Raise BodyTooLarge if the request's `content-length` is too large."""
    if length.isdigit() and int(length[:20]) > largest:
        raise BodyTooLarge(largest)


class ArrivingBody:
    """A body that is read while it arrives, a piece at a time; a pause between two reads holds its sender back.

    The sender has BODY_SECONDS, and one second more for each BODY_BYTES_A_SECOND received, not counting the time between
    two reads. A pause may last BODY_SECONDS.
    """

    def __init__(self, receive: Any, *, largest: int) -> None:
        self._receive, self._largest = receive, largest
        self._seconds_waited = 0.0
        self._whole = asyncio.Event()
        self.size = 0
        self.has_begun = False

    @property
    def is_over(self) -> bool:
        return self._whole.is_set()

    async def next(self) -> bytes:
        """The next piece; empty at the end, and where a piece was. Raises BodyTooLarge, BodyTooSlow, RequestAborted."""
        if self.is_over:
            return b""
        self.has_begun = True
        began = time.monotonic()
        justified = settings.BODY_SECONDS + self.size / settings.BODY_BYTES_A_SECOND - self._seconds_waited
        message = await _next(self._receive, min(justified, settings.BODY_SECONDS), received=self.size)
        self._seconds_waited += time.monotonic() - began
        piece: bytes = message.get("body", b"")
        self.size += len(piece)
        if self.size > self._largest:
            raise BodyTooLarge(self._largest)
        if not message.get("more_body", False):
            self._whole.set()
        return piece

    async def hang_up(self) -> Any:
        """What the server says after all of the body: that the client hung up."""
        await self._whole.wait()
        return await self._receive()


async def read(receive: Any, *, largest: int, announced: str = "") -> IO[bytes]:
    """The whole body, positioned at its start. Raises BodyTooLarge, BodyTooSlow, RequestAborted.

    Where the first message has all that was announced, no other is waited for: the server's word that nothing follows may
    still come. Large bodies are in a temporary file.
    """
    arriving = ArrivingBody(receive, largest=largest)
    body = await arriving.next()
    if arriving.is_over or (body and str(len(body)) == announced):
        return BytesIO(body)
    file = tempfile.SpooledTemporaryFile(  # noqa: SIM115
        max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, mode="w+b", dir=settings.FILE_UPLOAD_TEMP_DIR
    )
    try:
        file.write(body)
        while not arriving.is_over:
            file.write(await arriving.next())
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


async def discard(receive: Any, *, most: int, seconds: float) -> bool:
    """Read and discard the body, up to these limits. Returns whether that was all of it."""
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while size <= most:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return True
    except TimeoutError:
        pass
    return False


async def _next(receive: Any, seconds: float, *, received: int) -> Any:
    if seconds <= 0:
        raise BodyTooSlow(received)
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
    except TimeoutError:
        raise BodyTooSlow(received) from None
    if message["type"] == "http.disconnect":
        raise RequestAborted
    return message
