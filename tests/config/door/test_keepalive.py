"""Streams whose provider is silent say that they live, between two events and never within one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from config.door.keepalive import COMMENT, PING, with_keepalive

EVENT = b'data: {"a": 1}\n\n'
QUIET = 0.05
Say = Callable[..., Awaitable[None]]


def told(
    script: Callable[[Say], Awaitable[None]],
    *,
    path: str = "/v1/responses",
    kind: bytes = b"text/event-stream",
) -> list[bytes]:
    """What goes out of an application that follows the script."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})

        async def say(body: bytes, *, is_last: bool = False) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": not is_last})

        await script(say)

    async def run() -> None:
        await with_keepalive(application, seconds=QUIET)({"path": path}, None, send)
        await asyncio.sleep(3 * QUIET)

    asyncio.run(run())
    return sent


async def a_pause(say: Say) -> None:
    await say(EVENT)
    await asyncio.sleep(3.5 * QUIET)
    await say(EVENT)
    await say(b"", is_last=True)


@pytest.mark.parametrize(("path", "word"), [("/v1/messages", PING), ("/v1/chat/completions", COMMENT)])
def test_it_works(path: str, word: bytes) -> None:
    assert told(a_pause, path=path) == [EVENT, word, word, word, EVENT, b""]


def test_nothing_is_said_within_an_event_nor_after_the_last_one() -> None:
    async def halves(say: Say) -> None:
        await say(EVENT[:7])
        await asyncio.sleep(2.5 * QUIET)
        await say(EVENT[7:])
        await say(b"", is_last=True)
        await asyncio.sleep(2.5 * QUIET)

    assert told(halves) == [EVENT[:7], EVENT[7:], b""]


def test_only_streams_are_kept_alive() -> None:
    assert told(a_pause, kind=b"application/json") == [EVENT, EVENT, b""]


def test_a_stream_that_talks_hears_nothing() -> None:
    async def talk(say: Say) -> None:
        for _ in range(20):
            await say(EVENT)
            await asyncio.sleep(QUIET / 5)
        await say(b"", is_last=True)

    assert set(told(talk)) == {EVENT, b""}


def test_the_sdks_skip_it() -> None:
    chunk = (
        b'data: {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": '
        b'[{"index": 0, "delta": {"content": "hi"}, "finish_reason": null}]}\n\n'
    )
    stop = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'

    def answering(content: bytes) -> httpx2.MockTransport:
        headers = {"content-type": "text/event-stream"}
        return httpx2.MockTransport(lambda request: httpx2.Response(200, content=content, headers=headers))

    client = openai.OpenAI(
        api_key="k",
        base_url="http://x/v1",
        http_client=httpx2.Client(transport=answering(COMMENT + chunk + COMMENT + b"data: [DONE]\n\n")),
    )
    stream = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert [one.choices[0].delta.content for one in stream] == ["hi"]
    other = anthropic.Anthropic(
        api_key="k", base_url="http://x", http_client=httpx2.Client(transport=answering(PING + PING + stop))
    )
    events = other.messages.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert [event.type for event in events] == ["message_stop"]
