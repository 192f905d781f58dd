"""Reads JSON as servers really write it, and finds what is too deep to be written again or has too many values.

Invariant: pure, and linear in the text. What is read is plain JSON: no NaN, no half of a surrogate pair, no number that
cannot be written.
"""

import json
from typing import Any, Final

import orjson

# orjson reads 1,024 levels and writes 254; a translation adds a few
DEEPEST: Final = 240
BYTES_A_VALUE: Final = 40
KEPT_LEVELS: Final = 100  # of what is nested deeper than that
REPLACEMENT: Final = "\ufffd"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_ROOM: Final = 254 - DEEPEST
_LARGEST: Final = 2**64
_MARKS: Final = frozenset({"type", "index"})  # what says of a piece where it belongs

Place = tuple[str | int, ...]


class Unreadable(ValueError):
    """No JSON by any reading."""


def read(raw: bytes) -> tuple[Any, bool]:
    """What the bytes say, and whether they say it as JSON should be written. Raises Unreadable."""
    try:
        return orjson.loads(raw), True
    except orjson.JSONDecodeError:
        pass
    text = raw.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace")
    try:
        value = json.loads(text, strict=False, parse_constant=_null, parse_int=_number, parse_float=_real)
        return value, False
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def read_plain(raw: bytes) -> Any:
    """The same, with halves of surrogate pairs replaced."""
    value, is_plain = read(raw)
    return value if is_plain else without_halves(value)


def most_values(*, most_bytes: int) -> int:
    """How many values a body of so many bytes may have: each costs its reader time and memory, however short it is."""
    return most_bytes // BYTES_A_VALUE


def values_in(raw: bytes) -> int:
    """How many values a body has, at most: what looks like one inside a text counts too. About 1 ms a megabyte."""
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[")


def is_too_deep(value: Any, raw: bytes) -> bool:
    """Whether a value that was read from these bytes is nested deeper than it could be written again."""
    if len(raw) <= 2 * DEEPEST or raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return False
    wrapped = value
    for _ in range(_ROOM):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except orjson.JSONEncodeError:
        return True
    return False


def without_depths(value: Any, *, levels: int = KEPT_LEVELS) -> Any:
    """The value with what is nested deeper than this left out."""
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return None
    if isinstance(value, dict):
        return {name: without_depths(item, levels=levels - 1) for name, item in value.items()}
    return [without_depths(item, levels=levels - 1) for item in value]


def without_halves(value: Any) -> Any:
    """The value with each single half of a surrogate pair replaced; raises Unreadable."""
    if isinstance(value, str):
        return _whole(value)
    try:
        if isinstance(value, dict):
            return {_whole(name): without_halves(item) for name, item in value.items()}
        return [without_halves(item) for item in value] if isinstance(value, list) else value
    except RecursionError:
        raise Unreadable("nested too deep") from None


class HalvesJoiner:
    """Puts characters together that a stream has cut in two: the first half waits for the event that brings the second.

    A half is at the end of a piece of text, and the other at the beginning of the piece at the same place of the next
    event; what finds no other half there becomes U+FFFD, in an event of its own.
    """

    def __init__(self) -> None:
        self._waiting: dict[Place, str] = {}
        self._event: Any = None

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def join(self, event: Any) -> tuple[list[Any], Any]:
        """The events to send before this one, and this one, with whole characters only; raises Unreadable where it is too
        deep to be walked."""
        waited, self._waiting, before = self._waiting, {}, self._event
        try:
            joined = self._joined(event, (), waited)
        except RecursionError:
            raise Unreadable("nested too deep") from None
        self._event = event
        return [_only(before, at) for at in waited], joined

    def flush(self) -> list[Any]:
        """The events with what still waits, when nothing else follows."""
        waited, self._waiting = self._waiting, {}
        return [_only(self._event, at) for at in waited]

    def _joined(self, value: Any, at: Place, waited: dict[Place, str]) -> Any:
        if isinstance(value, str):
            return self._text(waited.pop(at, "") + value, at)
        if isinstance(value, dict):
            return {_whole(name): self._joined(item, (*at, name), waited) for name, item in value.items()}
        if isinstance(value, list):
            return [self._joined(item, (*at, number), waited) for number, item in enumerate(value)]
        return value

    def _text(self, text: str, at: Place) -> str:
        if text and "\ud800" <= text[-1] <= "\udbff" and "delta" in at:  # elsewhere no text goes on
            self._waiting[at], text = text[-1], text[:-1]
        return _whole(text)


def _only(event: Any, at: Place) -> Any:
    """An event with one piece of text, which is half a character, and nothing else that was sent before."""
    if not at:
        return REPLACEMENT
    if isinstance(event, list):
        return [_only(event[int(at[0])], at[1:])]
    is_inside = "delta" not in at
    kept = {name: value for name, value in event.items() if name in _MARKS} if is_inside else dict(event)
    return {**kept, at[0]: _only(event[at[0]], at[1:])}


def _whole(text: str) -> str:
    """Pairs of halves as the characters they are; single halves replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _null(_: str) -> None:
    """NaN and Infinity are no JSON: they become null."""


def _number(text: str) -> int | float | None:
    if len(text) > 20:
        return _real(text)
    number = int(text)
    return number if -_LARGEST // 2 <= number < _LARGEST else float(number)


def _real(text: str) -> float | None:
    number = float(text)
    return number if number - number == 0 else None
