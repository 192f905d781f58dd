"""JSON as the world writes it: what is too deep to be written again, and what has too many values to be read.

Invariant: pure. What we cannot write is refused where it is read, not in the middle of a call.
"""

from typing import Any, Final

import orjson

# orjson reads 1,024 levels and writes 254; a translation adds a few
DEEPEST: Final = 240
BYTES_A_VALUE: Final = 40
_ROOM: Final = 254 - DEEPEST


def most_values(*, most_bytes: int) -> int:
    """How many values a body of so many bytes may have: each costs its reader time and memory, however short it is."""
    return most_bytes // BYTES_A_VALUE


def values_in(raw: bytes) -> int:
    """How many values a body has, at most: what looks like one inside a text counts too. About 1 ms a megabyte."""
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[")


def is_too_deep(value: Any, raw: bytes) -> bool:
    """Whether a value that was read from these bytes is nested deeper than it could be written again."""
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return False
    wrapped = value
    for _ in range(_ROOM):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except orjson.JSONEncodeError:
        return True
    return False
