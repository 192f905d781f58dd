"""Writes a changed body into the bytes it was read from, so that all unchanged text leaves as it came.

Invariant: pure. What is returned decodes to exactly the body it was asked for; numbers, escapes, order and white space of
every unchanged value stay, byte for byte.
"""

import re
from collections.abc import Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final

import orjson

from config.values import value_type
from llm.wire.formats import Body

_STRUCTURE: Final = re.compile(r'["\[\]{}]')
_SCALAR_END: Final = re.compile(r"[,\]}\s]")
_SPACE: Final = re.compile(r"\s*")


@value_type
class Source:
    """A request body as the client sent it, and decoded."""

    raw: bytes
    body: Body

    def rewritten(self, body: Body) -> bytes:
        """The bytes of `body`, which was made of this one by exchanging some of its values."""
        if orjson.dumps(self.body) == self.raw:  # as most SDKs write it: nothing in it can be lost
            return self.raw if body is self.body else orjson.dumps(body)
        text = self.raw.decode()
        start, end = _skip_space(text, 0), text.rindex("}") + 1
        try:
            written = _object(text, start, end, self.body, body)
        except _Ambiguous:
            return orjson.dumps(body)
        return self.raw if body is self.body else (text[:start] + written + text[end:]).encode()


class _Ambiguous(Exception):
    """The text has one name twice: another reader may take another value than we did."""


@value_type
class _Member:
    """The place of an object's member, or of a list's item, in the text."""

    name: str
    start: int
    value_start: int
    end: int
    value: Any = None  # of an item


def _value(text: str, start: int, end: int, old: Any, new: Any) -> str:
    """The text of `new`, taken from the text of `old` between start and end as far as both are the same."""
    if old is new:
        return text[start:end]
    if isinstance(old, dict) and isinstance(new, dict):
        return _object(text, start, end, old, new)
    if isinstance(old, list) and isinstance(new, list):
        return _list(text, start, end, old, new)
    return text[start:end] if type(old) is type(new) and old == new else _dumps(new)


def _object(text: str, start: int, end: int, old: Body, new: Body) -> str:
    members = list(_members(text, start, old))
    if len({member.name for member in members}) != len(members):
        raise _Ambiguous
    pieces = [
        text[member.start : member.value_start]
        + _value(text, member.value_start, member.end, old[member.name], new[member.name])
        if member.name in new
        else None
        for member in members
    ]
    added = [f"{_dumps(name)}:{_dumps(value)}" for name, value in new.items() if name not in old]
    return _joined(text, start, end, members, pieces, added)


def _list(text: str, start: int, end: int, old: list[Any], new: list[Any]) -> str:
    items = list(_items(text, start, old))
    if len(old) == len(new):
        pairs = zip(items, new, strict=True)
        changed = [_value(text, item.start, item.end, item.value, after) for item, after in pairs]
        return _joined(text, start, end, items, changed, [])
    places = {id(item.value): text[item.start : item.end] for item in items}
    return _joined(
        text, start, end, items, [None] * len(items), [places.get(id(it)) or _dumps(it) for it in new]
    )


def _joined(
    text: str, start: int, end: int, members: list[_Member], pieces: Sequence[str | None], added: list[str]
) -> str:
    """The object or list with each member's new text, None where it is gone, and what was added behind them."""
    if not members:
        return text[start] + ",".join(added) + text[end - 1]
    written = [text[start : members[0].start]]
    separator = ""
    for at, piece in enumerate(pieces):
        if piece is not None:
            written += [separator, piece]
            separator = text[members[at].end : members[at + 1].start] if at + 1 < len(members) else ","
    between = text[members[0].end : members[1].start] if len(members) > 1 else ","
    for piece in added:
        written += [between if separator else "", piece]
        separator = between
    return "".join([*written, text[members[-1].end : end]])


def _members(text: str, start: int, old: Body) -> Iterator[_Member]:
    """The members of the object that begins here."""
    at = _skip_space(text, start + 1)
    while text[at] != "}":
        began = at
        name, at = scanstring(text, at + 1, False)
        at = _skip_space(text, at)
        value_start = _skip_space(text, at + 1)  # behind the colon
        at = _value_end(text, value_start, old[name])
        yield _Member(name, began, value_start, at)
        at = _next(text, at)


def _items(text: str, start: int, old: list[Any]) -> Iterator[_Member]:
    """The items of the list that begins here."""
    at = _skip_space(text, start + 1)
    for value in old:
        end = _value_end(text, at, value)
        yield _Member("", at, at, end, value)
        at = _next(text, end)


def _next(text: str, at: int) -> int:
    at = _skip_space(text, at)
    return _skip_space(text, at + 1) if text[at] == "," else at


def _value_end(text: str, at: int, value: Any) -> int:
    """Where the value that begins here ends."""
    if text[at] == '"':
        return int(scanstring(text, at + 1, False)[1])
    if text[at] not in "[{":
        return _SCALAR_END.search(text, at).start()  # type: ignore[union-attr]
    usual = _dumps(value)  # as most SDKs write it: found in a tenth of the time
    if text.startswith(usual, at):
        return at + len(usual)
    depth = 0
    while True:
        found = _STRUCTURE.search(text, at)
        assert found is not None
        mark, at = found.group(), found.end()
        if mark == '"':
            at = scanstring(text, at, False)[1]
        elif mark in "[{":
            depth += 1
        else:
            depth -= 1
            if not depth:
                return at


def _skip_space(text: str, at: int) -> int:
    return at if text[at] > " " else _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()
