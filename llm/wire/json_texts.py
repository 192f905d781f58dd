"""JSON as the world writes it: what is too deep to be written again.

Invariant: pure. What we cannot write is refused where it is read, not in the middle of a call.
"""

from typing import Any, Final

import orjson

# orjson reads 1,024 levels and writes 254; a translation adds a few
DEEPEST: Final = 240
_ROOM: Final = 254 - DEEPEST


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
