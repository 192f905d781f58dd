"""The text of a chat message and its reasoning, in all the fields where servers put them.

Invariant: pure; what is in two places counts once.
"""

from collections.abc import Iterator
from typing import Any, Final

from llm.wire.formats import Body

_REASONING_TEXTS: Final = ("reasoning_content", "reasoning", "thinking")
_REASONING: Final = (*_REASONING_TEXTS, "reasoning_details")


def text_of(message: Body) -> str:
    """The text of a message or of a delta, be its content a text or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(_texts(content, "text")) if isinstance(content, list) else ""


def reasoning_of(message: Body) -> str:
    """The reasoning next to the content or inside it; empty where there is none."""
    for name in _REASONING_TEXTS:
        if isinstance(text := message.get(name), str) and text:
            return text
    if isinstance(details := message.get("reasoning_details"), list):
        return "".join(
            text
            for detail in details
            if isinstance(detail, dict)
            for name in ("text", "summary")
            if isinstance(text := detail.get(name), str)
        )
    content = message.get("content")
    return "".join(_texts(content, "thinking")) if isinstance(content, list) else ""


def without_repeated_reasoning(message: Body) -> Body:
    """The message without the fields that repeat its reasoning."""
    named = [name for name in _REASONING if message.get(name)]
    if len(named) < 2:
        return message
    return {name: value for name, value in message.items() if name not in named[1:]}


def _texts(parts: list[Any], kind: str) -> Iterator[str]:
    """The texts of the parts of a kind: `text`, or `thinking`, whose text may be in parts of its own."""
    for part in parts:
        if isinstance(part, str) and kind == "text":
            yield part
        elif isinstance(part, dict) and _kind(part) == kind:
            text = part.get(kind)
            if text is None:
                text = part.get("text")
            if isinstance(text, str):
                yield text
            elif isinstance(text, list):
                yield from _texts(text, "text")


def _kind(part: Body) -> str:
    kind = part.get("type")
    if kind in ("thinking", "reasoning"):
        return "thinking"
    return "text" if kind in (None, "text", "output_text") else str(kind)
