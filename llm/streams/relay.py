"""A provider's stream on its way to a client: split, measured, translated if need be, passed on at once.

Invariant: events that need no change leave byte for byte as they came, in their order; the last one waits
until it can carry the `purser` object.
"""

from collections.abc import AsyncGenerator

import orjson

from config import resources
from llm.providers.client import ProviderStream
from llm.providers.outcomes import StreamBroken, without_secrets
from llm.streams.sse import EventTooLarge, SseSplitter, data_of
from llm.wire.exchange import Exchange
from llm.wire.formats import Body, StreamMeter


class Relay:
    """Sits between one ProviderStream and one client. After `run`, `meter` knows what there is to bill."""

    def __init__(self, exchange: Exchange, *, wants_usage: bool) -> None:
        self.meter: StreamMeter = exchange.upstream.meter()
        self._exchange = exchange
        self._splitter = SseSplitter()
        self._translator = exchange.translation.stream() if exchange.translation else None
        self._tail = exchange.client.tail(wants_usage=wants_usage)
        self._done = False
        self.bytes_read = 0

    async def run(self, stream: ProviderStream) -> AsyncGenerator[bytes, None]:
        """Yield what the client gets, but for the last event, after each read, be it nothing; raise StreamBroken if it
        has no proper end.

        Whoever stops early closes this generator, and with it the connection to the provider.
        """
        try:
            while not self._done and (chunk := await stream.read()):
                self.bytes_read += len(chunk)
                forwarded, broken = self.feed(chunk)
                yield forwarded
                if broken:
                    raise broken
            if forwarded := self._end():
                yield forwarded
        except BaseException:
            stream.close()
            raise
        resources.background(stream.finish())

    def feed(self, chunk: bytes) -> tuple[bytes, StreamBroken | None]:
        """Take a chunk; return what goes out now, and what broke the stream if anything did."""
        forwarded: list[bytes] = []
        try:
            for event in self._splitter.feed(chunk):
                forwarded.append(self._event(event))
        except StreamBroken as broken:
            return b"".join(forwarded), broken
        except EventTooLarge as error:
            return b"".join(forwarded), StreamBroken(f"The provider's stream is malformed: {error}")
        return b"".join(forwarded), None

    def close(self, block: Body) -> bytes:
        """The last event, with our facts in it."""
        return self._tail.close(block)

    def cut_short(self, *, input_tokens: int, output_tokens: int, block: Body) -> bytes:
        """End the stream here, properly, as if the model had reached its limit."""
        told = b""
        for payload in self.meter.cut_short(input_tokens=input_tokens, output_tokens=output_tokens):
            if self._translator:
                told += self._translated(self._translator.feed(payload))
            else:
                told += self._tail.feed(self._exchange.client.encode_event(payload), payload)
        if self._translator:
            told += self._translated(self._translator.end())
        return told + self._tail.close(block)

    def answer(self) -> Body:
        """The whole answer in the client's protocol, as it is remembered."""
        return self._exchange.answer(self.meter.response())

    def _event(self, event: bytes) -> bytes:
        data = data_of(event)
        if not data:  # a comment: keeps the connection alive
            return event
        if data == b"[DONE]":
            self._done = True
            return b"" if self._translator else self._tail.feed(event, None)
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise StreamBroken("The provider's stream is malformed: an event is not JSON.") from None
        if not isinstance(payload, dict):
            raise StreamBroken("The provider's stream is malformed: an event is not an object.")
        if error := self._exchange.upstream.error_in(payload):
            raise StreamBroken(
                without_secrets(str(error.get("message") or error.get("type") or "unknown error"))
            )
        try:
            self.meter.feed(payload)
            if self._translator:
                return self._translated(self._translator.feed(payload))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StreamBroken(f"The provider's stream is malformed ({type(error).__name__}).") from None
        return self._tail.feed(event, payload)

    def _end(self) -> bytes:
        forwarded = b""
        if not self._done and self._splitter.rest().strip():  # some servers end without the last blank line
            forwarded, broken = self.feed(b"\n\n")
            if broken:
                raise broken
        if not (self._done or self.meter.has_ended):
            raise StreamBroken("The provider's stream ended before its answer did.")
        return forwarded + (self._translated(self._translator.end()) if self._translator else b"")

    def _translated(self, payloads: list[Body]) -> bytes:
        encode = self._exchange.client.encode_event
        return b"".join(self._tail.feed(encode(payload), payload) for payload in payloads)
