"""The load generator in Python, against a server that answers like one, or refuses."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from benchmarks.load.generators import TOKEN, USER, Request
from benchmarks.load.python_client import Client

ANSWERS = {
    "/whole": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "/refused": b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
}


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            length = int(head.partition("content-length: ")[2].split()[0])
            await reader.readexactly(length)
            writer.write(ANSWERS[head.split()[1]])

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


def order_of(url: str, *, rate: float) -> dict[str, object]:
    request = Request(url, {"text": TOKEN, "user": USER}, {})
    return {
        "url": url,
        "parts": request.parts(),
        "tokens": request.tokens,
        "users": request.users,
        **{"connections": 4, "seconds": 0.2, "seed": 1, "rate": rate},
    }


@pytest.mark.parametrize("path", ["/whole", "/chunked"])
async def test_it_works(base_url: str, path: str) -> None:
    load = await Client(order_of(base_url + path, rate=0)).run()
    assert (load.errors, load.requests >= 4) == (0, True)


async def test_a_steady_rate_sends_as_many_as_it_should(base_url: str) -> None:
    load = await Client(order_of(f"{base_url}/whole", rate=50)).run()
    assert (load.errors, load.requests) == (0, 10)


async def test_a_refusal_is_an_error(base_url: str) -> None:
    load = await Client(order_of(f"{base_url}/refused", rate=50)).run()
    assert load.errors == load.requests == 10
