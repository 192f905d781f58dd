"""Makes text and JSON from outside storable in PostgreSQL.

Invariant: no text of a provider or a client can prevent a row from being stored. NUL and lone surrogates, which
PostgreSQL cannot store, become U+FFFD. JSON that cannot be stored whole is stored as far as possible. What is sent to a
client is never changed here.
"""

import json as standard_json
import re
from collections.abc import Callable
from typing import Any, Final

import orjson

REPLACEMENT: Final = "\ufffd"
DEEPEST: Final = 200

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# behind an even number of backslashes: an escape, not a text about one
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_LARGEST: Final = 2**63


def text(value: str) -> str:
    """The text as it is stored; the same object if nothing must be replaced."""
    return _UNSTORABLE.sub(REPLACEMENT, value)


def json_text(value: Any, *, default: Callable[[Any], Any] | None = None) -> str:
    """The value as JSON for a column of PostgreSQL."""
    try:
        written = orjson.dumps(value, default=default).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, too deep, a number that is too large
        return standard_json.dumps(_plain(value, default))
    return _ESCAPED_NUL.sub(rf"\1{REPLACEMENT}", written) if has_null(written) else written


def has_null(written: str) -> bool:
    """Whether a text in this JSON has a NUL character, which PostgreSQL cannot store."""
    return "\\u0000" in written and _ESCAPED_NUL.search(written) is not None


def json_value(value: Any) -> Any:
    """The value for a JSON field of the ORM."""
    return orjson.loads(json_text(value))


def _plain(value: Any, default: Callable[[Any], Any] | None, depth: int = 0) -> Any:
    if isinstance(value, str):
        return text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_LARGEST <= value < 2 * _LARGEST else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if depth > DEEPEST:
        return "(nested too deep to be kept)"
    if isinstance(value, dict):
        return {text(str(name)): _plain(item, default, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, default, depth + 1) for item in value]
    try:  # what orjson writes by itself: dates, ids
        return orjson.loads(orjson.dumps(value, default=default))
    except orjson.JSONEncodeError:
        return text(str(value))
