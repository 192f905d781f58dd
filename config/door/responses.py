"""Responses as ASGI messages.

Invariant: no header has a line break, whatever its value was made of.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from django.http.response import HttpResponseBase, ResponseHeaders

from config import resources


class PlainResponse:
    """A successful response, ready to be sent: a whole body, or its chunks, which are closed after the last one. Names of
    headers are in small letters."""

    status_code = 200

    def __init__(
        self,
        body: bytes | AsyncGenerator[bytes, None],
        *,
        content_type: str,
        headers: Mapping[str, str],
    ) -> None:
        """Raises BadHeaderError for a line break."""
        self.body = body
        self.headers = {
            "content-type": content_type,
            **{name: _writable(value) for name, value in headers.items()},
        }


Response = HttpResponseBase | PlainResponse


async def send_response(response: Response, send: Any) -> None:
    """Send all of a response."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()
    ]
    if isinstance(response, PlainResponse):
        body = response.body
    elif response.streaming:
        body = aiter(response)  # type: ignore[arg-type]
    else:
        body = response.content  # type: ignore[attr-defined]
    try:
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    except BaseException:
        if not isinstance(body, bytes):
            resources.background(_begin_and_close(body))
        raise
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    async with aclosing(body) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})


async def _begin_and_close(chunks: AsyncGenerator[bytes, None]) -> None:
    """Close a stream that nobody reads: one that never began would skip its own clean-up."""
    async with aclosing(chunks):
        await anext(chunks, None)


def _writable(value: str) -> str:
    """The value as a header can carry it: what is not Latin-1 is written as MIME has it."""
    if value.isascii() and value.isprintable():
        return value
    return str(ResponseHeaders({"value": value})["value"])
