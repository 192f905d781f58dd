"""A provider's stream on its way to a client: split, measured, translated if need be, passed on immediately.

Invariant: events that need no change leave byte for byte as they came, in their order; the last one waits
until it can carry the `purser` object. An answer that came whole is sent as a stream. What cannot be put together
exactly goes on as it came, and the whole answer made of it is not trusted.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from config import resources
from llm.providers.client import ProviderStream
from llm.providers.errors import StreamBroken, without_secrets
from llm.wire.exchange import Exchange
from llm.wire.formats import Body, StreamMeter
from llm.wire.texts.events import Event, EventReader, Malformed
from llm.wire.texts.sse import EventTooLarge, SseSplitter


class Relay:
    """Sits between one ProviderStream and one client. After `run`, `meter` knows what there is to bill."""

    def __init__(self, exchange: Exchange, *, wants_usage: bool) -> None:
        self.meter: StreamMeter = exchange.upstream.meter()
        self._exchange = exchange
        self._splitter = SseSplitter()
        self._reader = EventReader()
        self._translator = exchange.translation.stream() if exchange.translation else None
        self._tail = exchange.client.tail(wants_usage=wants_usage)
        self._done = False
        self._is_exact = True
        self._has_stated_end = False
        self.bytes_read = 0

    async def run(self, stream: ProviderStream) -> AsyncGenerator[bytes, None]:
        """Yield what the client gets, but for the last event, after each read, be it nothing; raise StreamBroken if it
        has no proper end.

        A caller that stops early closes this generator, and with it the connection to the provider.
        """
        try:
            if stream.whole is not None:
                yield self._as_stream(stream.whole.body)
                self._is_exact = stream.whole.is_exact
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

    def stated_end(self, block: Body) -> bytes:
        """The provider's own last event of an answer that failed, where its protocol has one; else nothing."""
        return self._tail.close(block) if self._has_stated_end else b""

    def cut_short(self, *, input_tokens: int, output_tokens: int, block: Body) -> bytes:
        """End the stream here, properly, as if the model had reached its limit."""
        sent = b""
        for payload in self.meter.cut_short(input_tokens=input_tokens, output_tokens=output_tokens):
            if self._translator:
                sent += self._translated(self._translator.feed(payload))
            else:
                sent += self._tail.feed(self._exchange.client.encode_event(payload), payload)
        if self._translator:
            sent += self._translated(self._translator.end())
        return sent + self._tail.close(block)

    def answer(self) -> Body:
        """The whole answer in the client's protocol, as it is remembered."""
        return self._exchange.answer(self.meter.response())

    @property
    def is_exact(self) -> bool:
        """Whether `answer` is what the provider said, exactly: only then may it be kept, judged or replayed."""
        return self._is_exact and self._reader.is_exact and self.meter.is_exact

    def _event(self, raw: bytes) -> bytes:
        try:
            if (payload := self._reader.plain(raw)) is not None:
                return self._passed_on(raw, payload)
            event = self._reader.read(raw)
            if event.before:
                first = b"".join(self._said(one.raw, one.payload or {}) for one in event.before)
                return first + self._event_itself(event)
            return self._event_itself(event)
        except Malformed as error:
            raise StreamBroken(f"The provider's stream is malformed: {error}.") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StreamBroken(f"The provider's stream is malformed ({type(error).__name__}).") from None

    def _event_itself(self, event: Event) -> bytes:
        if event.payload is None:
            return self._silence(event)
        return self._said(event.raw, event.payload, error=event.error)

    def _silence(self, event: Event) -> bytes:
        """The end mark, or a sign of life: the client waits for that, too."""
        if event.is_end:
            self._done = True
            return b"" if self._translator else self._tail.feed(event.raw, None)
        return self._exchange.client.keep_alive() if self._translator else event.raw

    def _said(self, raw: bytes, payload: Body, *, error: Mapping[str, Any] | None = None) -> bytes:
        if error is not None:
            self._take_usage(payload)
            message = without_secrets(str(error.get("message") or error.get("type") or "unknown error"))
            if self._translator is None and payload.get("type") == "response.failed":
                response = {**payload["response"], "error": {**error, "message": message}}
                self._tail.feed(raw, {**payload, "response": response})
                self._has_stated_end = True
            raise StreamBroken(message, stated=error)
        return self._passed_on(raw, payload)

    def _passed_on(self, raw: bytes, payload: Body) -> bytes:
        self.meter.feed(payload)
        if self._translator is None:
            return self._tail.feed(raw, payload)
        translated = self._translator.feed(payload)
        return self._translated(translated) if translated else self._unless_silent(payload)

    def _unless_silent(self, payload: Body) -> bytes:
        """What means nothing in the client's protocol still says that the stream lives."""
        return self._exchange.client.keep_alive() if payload.get("type") == "ping" else b""

    def _take_usage(self, payload: Body) -> None:
        """An event with an error may have usage, too."""
        try:
            self.meter.feed(payload)
        except (KeyError, TypeError, AttributeError, ValueError):
            return

    def _as_stream(self, answer: Body) -> bytes:
        """A whole answer as the stream that was asked for."""
        upstream = self._exchange.upstream
        sent = b"".join(
            self._said(upstream.encode_event(payload), payload) for payload in upstream.events_of(answer)
        )
        self._done = True
        self.meter.end()
        return sent

    def _end(self) -> bytes:
        forwarded = b""
        if not self._done and self._splitter.rest().strip():  # some servers end without the last blank line
            forwarded, broken = self.feed(b"\n\n")
            if broken:
                raise broken
        if self._done:
            self.meter.end()
        elif not self.meter.has_ended:
            raise StreamBroken("The provider's stream ended before its answer did.")
        return forwarded + (self._translated(self._translator.end()) if self._translator else b"")

    def _translated(self, payloads: list[Body]) -> bytes:
        encode = self._exchange.client.encode_event
        return b"".join(self._tail.feed(encode(payload), payload) for payload in payloads)
