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


def check_announced(length: str, *, largest: int) -> None:
    """Raise BodyTooLarge if the request's `content-length` is too large."""
    if length.isdigit() and int(length[:20]) > largest:
        raise BodyTooLarge(largest)


async def read(receive: Any, *, largest: int) -> IO[bytes]:
    """The whole body, positioned at its start. Raises BodyTooLarge, BodyTooSlow, RequestAborted.

    The sender has BODY_SECONDS, and one second more for each BODY_BYTES_A_SECOND received. A pause may last
    BODY_SECONDS. Large bodies are in a temporary file.
    """
    began = time.monotonic()
    message = await _next(receive, settings.BODY_SECONDS, received=0)
    body = message.get("body", b"")
    if len(body) > largest:
        raise BodyTooLarge(largest)
    if not message.get("more_body", False):
        return BytesIO(body)
    file = tempfile.SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, mode="w+b")  # noqa: SIM115
    try:
        size = len(body)
        file.write(body)
        while message.get("more_body", False):
            left = began + settings.BODY_SECONDS + size / settings.BODY_BYTES_A_SECOND - time.monotonic()
            message = await _next(receive, min(left, settings.BODY_SECONDS), received=size)
            body = message.get("body", b"")
            size += len(body)
            if size > largest:
                raise BodyTooLarge(largest)
            file.write(body)
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
