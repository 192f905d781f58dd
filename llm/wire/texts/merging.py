"""Puts the fields of a message together from what the chunks of a stream say of it.

Invariant: pieces of a text follow one another, a field that is sent once stays, and a part of a list is found by its index.
"""

from typing import Any, Final

from llm.wire.formats import Body

WHOLE_FIELDS: Final = frozenset({"role", "type", "id", "index", "name", "expires_at", "format"})  # sent once
_MOST_OPEN: Final = 64  # so many parts of a list may be open at a time
_TEXT_PART: Final = frozenset({"type", "text"})


def merge(whole: Body, part: Body) -> None:
    """Add what a chunk says to what is known."""
    for name, value in part.items():
        known = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(known, str) and isinstance(value, str) and name not in WHOLE_FIELDS:
            whole[name] = known + value
        elif isinstance(known, dict) and isinstance(value, dict):
            merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            _extend(known, value)
        elif value != "" or known is None:
            whole[name] = _copied(value)


def add_parts(parts: list[Any], more: list[Any]) -> None:
    """Add the next parts of a content; a text goes on where the last part is one."""
    for part in more:
        last = parts[-1] if parts else None
        if last is not None and _is_text(part) and _is_text(last):
            last["text"] += part["text"]
        elif last is not None and _goes_on(last, part):
            add_parts(last["thinking"], part["thinking"])
        else:
            parts.append(_copied(part))


def _goes_on(last: Any, part: Any) -> bool:
    """Whether it is more of the same thinking."""
    return all(
        isinstance(one, dict) and one.keys() == {"type", "thinking"} and isinstance(one["thinking"], list)
        for one in (last, part)
    )


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == _TEXT_PART and isinstance(part["text"], str)


def _extend(known: list[Any], more: list[Any]) -> None:
    for part in more:
        same = next((one for one in reversed(known[-_MOST_OPEN:]) if _is_same(one, part)), None)
        if same is None:
            known.append(_copied(part))
        else:
            merge(same, part)


def _is_same(known: Any, part: Any) -> bool:
    if not (isinstance(known, dict) and isinstance(part, dict)):
        return False
    if not isinstance(index := part.get("index"), int) or known.get("index") != index:
        return False
    return part.get("type") is None or known.get("type") in (None, part["type"])


def _copied(value: Any) -> Any:
    """A copy that may be added to."""
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
