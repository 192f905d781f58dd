"""Reads what came with status 200, under any content type: an answer, whole or as a stream, or none at all.

Invariant: pure. What came is never asked for again because it came in another form; an error in place of an answer has
the outcome of the status that it means; what reports its usage is billed by it.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from config.values import value_type
from llm.providers.classify import failure_in_answer, request_id_of
from llm.providers.errors import ProviderError, ProviderFailure, without_secrets
from llm.providers.target import Target
from llm.wire.error_bodies import error_in_any
from llm.wire.formats import Body, StreamMeter, WireFormat
from llm.wire.texts.events import EventReader, Malformed
from llm.wire.texts.json_texts import (
    BYTE_ORDER_MARK,
    Unreadable,
    is_too_deep,
    read,
    without_depths,
    without_halves,
)
from llm.wire.texts.sse import EventTooLarge, SseSplitter

_EVENT_STARTS: Final = (b"data:", b"event:", b":", b"id:", b"retry:")


@value_type
class Received:
    """A whole answer: decoded, and as bytes to pass on. `is_exact`: it may be kept and replayed."""

    body: Body
    raw: bytes
    is_exact: bool


@value_type
class Sender:
    """Who sent it, in which protocol, and under which headers."""

    target: Target
    wire: WireFormat
    headers: Mapping[str, str]

    def failed_with(self, error: Mapping[str, Any], *, received: Body | None = None) -> ProviderFailure:
        """The outcome of an error in place of an answer."""
        return failure_in_answer(
            error,
            self.headers,
            provider=self.target.provider,
            api_key=self.target.api_key,
            received=received if received is not None and reports_usage(self.wire, received) else None,
        )

    def no_answer(self, why: str, **facts: Any) -> ProviderError:
        """The outcome of what is neither an answer nor an error."""
        why = without_secrets(why, api_key=self.target.api_key)
        return ProviderError(
            f"{self.target.provider} answered with status 200, but {why}.",
            upstream_status=200,
            upstream_request_id=request_id_of(self.headers),
            **facts,
        )


def begins_with(raw: bytes) -> bytes:
    """The bytes without what may come before an answer: a byte order mark, white space."""
    return raw.removeprefix(BYTE_ORDER_MARK).lstrip()


def whole_answer(raw: bytes, sender: Sender) -> Received:
    """The answer that came, or raise the ProviderFailure that it is."""
    start = begins_with(raw)
    if start.startswith(_EVENT_STARTS):
        return _put_together(start, sender)
    try:
        body, is_plain = read(raw)
        if not is_plain:
            body = without_halves(body)
    except Unreadable:
        raise _unreadable(start, sender) from None
    if error := error_in_any(body):
        raise sender.failed_with(error, received=body if isinstance(body, dict) else None)
    if not isinstance(body, dict):
        raise sender.no_answer("its body is not a JSON object", retryable=body is None)
    if is_deep := is_too_deep(body, raw):
        body = without_depths(body)
    answer = sender.wire.normal(body)
    if why := sender.wire.misfit(answer):
        raise sender.no_answer(why, received=body if reports_usage(sender.wire, body) else None)
    is_as_it_came = is_plain and answer is body
    return Received(answer, raw if is_as_it_came else orjson.dumps(answer), not is_deep)


def reports_usage(wire: WireFormat, body: Body) -> bool:
    """Whether a body reports any usage."""
    usage = wire.usage(body)
    return isinstance(usage, dict) and any(
        isinstance(figure, int | float) and figure > 0 for figure in usage.values()
    )


class Opening:
    """The beginning of a stream, checked before any of it is passed on: does it say something, is it an error, is it no
    stream at all? `taken` is all that was given, from where the answer begins."""

    def __init__(self, sender: Sender) -> None:
        self.taken = bytearray()
        self.says_something = False
        self.is_whole = False
        self._sender = sender
        self._has_begun = False
        self._splitter = SseSplitter()
        self._reader = EventReader()
        self._meter = sender.wire.meter()

    def take(self, chunk: bytes) -> None:
        """Look at what came next; raises the ProviderFailure that it is."""
        self.taken += chunk
        if not self._has_begun:
            if BYTE_ORDER_MARK.startswith(self.taken):
                return
            self.taken = bytearray(begins_with(bytes(self.taken)))
            self._has_begun = bool(self.taken)
            self.is_whole = self.taken.startswith((b"{", b"["))
            chunk = bytes(self.taken)
            if chunk.startswith(b"<"):
                raise self._sender.no_answer("its body is no stream")
        if not self.is_whole:
            self._look(chunk)

    def end(self) -> None:
        """Nothing more comes."""
        self._look(b"\n\n")
        if not self.says_something:
            raise self._sender.no_answer("its stream says nothing", retryable=True)

    def _look(self, chunk: bytes) -> None:
        try:
            for event in self._splitter.feed(chunk):
                parsed = self._reader.read(event)
                if parsed.error is not None:
                    raise self._sender.failed_with(
                        parsed.error, received=_received_so_far(self._meter, parsed.payload)
                    )
                if parsed.payload is not None and parsed.payload.get("type") != "ping":
                    self.says_something = True
                    self._meter.feed(parsed.payload)
                    if self._meter.has_output:
                        return
        except (Malformed, EventTooLarge, KeyError, TypeError, AttributeError, ValueError) as error:
            if not self.says_something:
                raise self._sender.no_answer(f"its stream is malformed: {error}", retryable=True) from None


def _received_so_far(meter: StreamMeter, last: Body | None) -> Body:
    """What a stream sent up to its error, and with it."""
    with suppress(KeyError, TypeError, AttributeError, ValueError):
        meter.feed(last or {})
    return {**meter.response(), "usage": meter.usage or {}}


def _unreadable(start: bytes, sender: Sender) -> ProviderError:
    if start[:1] in (b"{", b"["):  # an answer that was damaged on its way: it is lost, and may be billed
        return sender.no_answer("its JSON breaks off", retryable=True, may_be_billed=True)
    if not start:
        return sender.no_answer("its body is empty", retryable=True)
    return sender.no_answer("its body is not a JSON object")


def _put_together(raw: bytes, sender: Sender) -> Received:
    """A stream that came where a whole answer was asked for."""
    meter, reader = sender.wire.meter(), EventReader()
    is_done = False
    try:
        splitter = SseSplitter()
        for event in [*splitter.feed(raw), *splitter.feed(b"\n\n")]:
            parsed = reader.read(event)
            if parsed.error is not None:
                failure = sender.failed_with(parsed.error, received=_received_so_far(meter, parsed.payload))
                failure.may_be_billed = failure.may_be_billed or meter.has_output
                raise failure
            for one in (*parsed.before, parsed):
                if one.payload is not None:
                    meter.feed(one.payload)
            is_done = is_done or parsed.is_end
    except (Malformed, EventTooLarge, KeyError, TypeError, AttributeError, ValueError) as error:
        raise sender.no_answer(f"its stream is malformed ({error})", may_be_billed=meter.has_output) from None
    if is_done:
        meter.end()
    if not meter.has_ended:
        raise sender.no_answer(
            "its stream breaks off" if meter.has_output else "its stream says nothing",
            retryable=True,
            may_be_billed=meter.has_output,
        )
    body = meter.response()
    return Received(body, orjson.dumps(body), meter.is_exact and reader.is_exact)
