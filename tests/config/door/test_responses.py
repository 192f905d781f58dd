"""Responses as they are sent."""

import asyncio
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.http.response import BadHeaderError

from config import resources
from config.door.responses import Chunks, PlainResponse, Response, Write, send_response


def sent(response: Response) -> list[Any]:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(send_response(response, send))
    return messages


def plain(body: bytes | Chunks, **headers: str) -> PlainResponse:
    return PlainResponse(body, content_type="text/plain", headers=headers)


def test_it_works() -> None:
    start, body = sent(plain(b"hello", route="named"))
    assert (start["status"], start["headers"]) == (
        200,
        [(b"content-type", b"text/plain"), (b"route", b"named")],
    )
    assert body == {"type": "http.response.body", "body": b"hello"}


class TwoChunks:
    """A body that is still coming."""

    def __init__(self) -> None:
        self.is_abandoned = False

    async def send_to(self, write: Write) -> None:
        await write(b"a")
        await write(b"b")

    async def abandon(self) -> None:
        self.is_abandoned = True


def test_a_stream_is_sent_chunk_by_chunk() -> None:
    _, *parts, end = sent(plain(TwoChunks()))
    assert ([(part["body"], part["more_body"]) for part in parts], end) == (
        [(b"a", True), (b"b", True)],
        {"type": "http.response.body"},
    )


def test_a_streaming_response_of_django_is_closed_after_its_last_piece() -> None:
    ended = []

    async def pieces() -> Any:
        try:
            yield b"a"
            yield b"b"
        finally:
            ended.append(True)

    _, *parts, _ = sent(StreamingHttpResponse(pieces()))
    assert ([part["body"] for part in parts], ended) == ([b"a", b"b"], [True])


def test_a_value_that_no_header_can_carry_is_written_as_mime_has_it() -> None:
    start, _ = sent(plain(b"", budget="預算"))
    assert start["headers"][1] == (b"budget", b"=?utf-8?b?6aCQ566X?=")


def test_a_line_break_is_refused() -> None:
    with pytest.raises(BadHeaderError):
        plain(b"", route="named\r\nset-cookie: a=b")


def test_a_stream_whose_client_is_gone_before_it_begins_is_abandoned() -> None:
    chunks = TwoChunks()

    async def send(_: Any) -> None:
        raise ConnectionResetError

    async def answer() -> None:
        with pytest.raises(ConnectionResetError):
            await send_response(plain(chunks), send)
        await resources.drain()

    asyncio.run(answer())
    assert chunks.is_abandoned
