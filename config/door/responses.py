"""Responses as ASGI messages.

Invariant: no header has a line break, whatever its value was made of.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from django.http.response import HttpResponseBase, ResponseHeaders

from config import resources

Write = Callable[[bytes], Awaitable[Any]]


class Chunks(Protocol):
    """A body that is still coming. Whoever has it calls `send_to` or `abandon`."""

    async def send_to(self, write: Write) -> None:
        """Write all of it to the client. Cancelled when the client is gone."""
        ...

    async def abandon(self) -> None:
        """Nobody reads it."""
        ...


class PlainResponse:
    """A successful response, ready to be sent: a whole body, or one that is still coming. Names of headers are in small
    letters."""

    status_code = 200

    def __init__(self, body: bytes | Chunks, *, content_type: str, headers: Mapping[str, str]) -> None:
        """Raises BadHeaderError for a line break."""
        self.body = body
        self.headers = {
            "content-type": content_type,
            **{name: _writable(value) for name, value in headers.items()},
        }


Response = HttpResponseBase | PlainResponse


async def send_response(response: Response, send: Any) -> None:
    """Send all of a response."""
    body: bytes | Chunks
    if isinstance(response, PlainResponse):
        body = response.body
    elif response.streaming:
        body = Pieces(aiter(response))  # type: ignore[arg-type]
    else:
        body = response.content  # type: ignore[attr-defined]
    try:
        await send(_start(response))
    except BaseException:
        if not isinstance(body, bytes):
            resources.background(body.abandon())
        raise
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    del response  # a stream may last long: it holds what it needs
    await body.send_to(lambda chunk: send({"type": "http.response.body", "body": chunk, "more_body": True}))
    await send({"type": "http.response.body"})


def _start(response: Response) -> dict[str, Any]:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()
    ]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


class Pieces:
    """A body of pieces that somebody else makes, such as a file's."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def send_to(self, write: Write) -> None:
        async with aclosing(self._pieces) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                await write(piece)

    async def abandon(self) -> None:
        """A generator that never began would skip its own clean-up: begin it, then close it."""
        async with aclosing(self._pieces) as pieces:  # type: ignore[type-var]
            await anext(pieces, None)


def _writable(value: str) -> str:
    """The value as a header can carry it: what is not Latin-1 is written as MIME has it."""
    if value.isascii() and value.isprintable():
        return value
    return str(ResponseHeaders({"value": value})["value"])
