"""Reads one event of a provider's stream: a payload, an error, a keep-alive, or the end.

Invariant: an event that is written as it should be leaves byte for byte as it came; one that is not is written again, as
plain JSON, and never cuts a character in two.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from llm.wire.error_bodies import error_in, error_in_any
from llm.wire.formats import Body
from llm.wire.texts.json_texts import DEEPEST, HalvesJoiner, Unreadable, is_too_deep, read, without_depths
from llm.wire.texts.sse import data_of

_FIELDS: Final = (b":", b"event", b"id", b"retry", b"data")
_SHORT: Final = 20
_SHALLOW: Final = 2 * DEEPEST  # bytes: what is shorter cannot be nested too deep
_NAMED_ERROR: Final = (b"event: error\n", b"event:error\n", b"event: error\r", b"event:error\r")


class Malformed(ValueError):
    """No event of a stream."""


@dataclass(slots=True)
class Event:
    """One event: its bytes as they may go on, and what it says. Without payload and end it is a keep-alive. `before`:
    what must be sent first, because this event shows that nothing more of it comes."""

    raw: bytes
    payload: Body | None = None
    error: dict[str, Any] | None = None
    is_end: bool = False
    before: "tuple[Event, ...]" = ()


class EventReader:
    """Reads the events of one stream in their order."""

    __slots__ = ("_joiner", "_last", "is_exact")

    def __init__(self) -> None:
        self.is_exact = True  # what it has read is all that was said
        self._joiner = HalvesJoiner()
        self._last = b""

    def plain(self, raw: bytes) -> Body | None:
        """What an event says that is one line of plain JSON, with its name before it or without, and no error: most of a
        stream. None for every other, which must be `read`."""
        if raw.startswith(b"data: {"):
            lines, start = 2, 6
        elif (name_end := raw.find(b"\ndata: {")) > 0 and raw.startswith(b"event: "):
            lines, start = 3, name_end + 7
        else:
            return None
        if (
            raw.count(b"\n") != lines
            or b"\r" in raw
            or self._joiner.is_waiting
            or raw.startswith(_NAMED_ERROR)
        ):
            return None
        try:
            payload: Body = orjson.loads(raw[start:])
        except orjson.JSONDecodeError:
            return None
        if len(raw) > _SHALLOW and is_too_deep(payload, raw):
            return None
        return payload if error_in(payload) is None else None

    def read(self, raw: bytes) -> Event:
        """What an event says, or Malformed."""
        data = data_of(raw)
        if not data:
            _check_silence(raw)
            return Event(raw)
        if len(data) < _SHORT and data.strip() == b"[DONE]":
            return Event(raw, is_end=True, before=self._written(self._joiner.flush()))
        before: tuple[Event, ...] = ()
        try:
            payload, is_plain = read(data)
            if not is_plain or self._joiner.is_waiting:
                left, payload = self._joiner.join(payload)
                before, self._last = self._written(left), raw
                raw = _rewritten(raw, payload)
        except (Unreadable, orjson.JSONEncodeError):
            raise Malformed("an event is not JSON") from None
        if is_too_deep(payload, data):  # it goes on as it came; none of our writers could write it again
            payload, self.is_exact = without_depths(payload), False
        if not isinstance(payload, dict):
            if error := error_in_any(payload):
                return Event(raw, {"error": error}, error)
            raise Malformed("an event is not an object")
        error = error_in(payload)
        if error is None and raw.startswith(_NAMED_ERROR):
            error = payload
        return Event(raw, payload, error, before=before)

    def _written(self, payloads: list[Any]) -> tuple[Event, ...]:
        return tuple(Event(_rewritten(self._last, payload), payload) for payload in payloads)


def _check_silence(raw: bytes) -> None:
    """An event without data is a comment, or has other fields; a page of a proxy is neither."""
    lines = [line for line in raw.splitlines() if line.strip()]
    if lines and not any(line.startswith(_FIELDS) for line in lines):
        raise Malformed("it has something else than events in it")


def _rewritten(raw: bytes, payload: Any) -> bytes:
    """The event with this payload in place of its own; its other fields stay."""
    others = [line for line in raw.splitlines() if line and not line.startswith(b"data")]
    return b"".join(b"%b\n" % line for line in others) + b"data: %b\n\n" % orjson.dumps(payload)
