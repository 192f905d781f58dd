"""The turns of a body, of any API: where its texts are and which turns belong together.

Invariant: nothing is edited in place; a call of a tool and its result always belong to the same exchange.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Turn = Mapping[str, Any]
Rewrite = Callable[[str], str]

INSTRUCTION_ROLES: Final = ("system", "developer")  # tuples: a role that is no text at all must not raise
_TEXT_PARTS: Final = ("text", "input_text", "output_text")


def turns_field(body: Mapping[str, Any], *, protocol: str) -> str:
    """The field that holds the body's turns, or '' where they are not a list of objects."""
    field = "input" if protocol == "openai.responses" else "messages"
    turns = body.get(field)
    return (
        field if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns) else ""
    )


def is_instruction(turn: Turn) -> bool:
    return turn.get("role") in INSTRUCTION_ROLES


def starts_exchange(turn: Turn) -> bool:
    """Whether a person speaks here. A user turn of nothing but tool results continues the exchange before
    it."""
    if turn.get("role") != "user":
        return False
    content = turn.get("content")
    if not isinstance(content, list):
        return True
    return any(not (isinstance(part, dict) and part.get("type") == "tool_result") for part in content)


def exchanges(turns: Sequence[Turn]) -> list[list[int]]:
    """The positions of the turns, grouped from one user turn to the next. Instructions belong to no
    exchange."""
    groups: list[list[int]] = []
    for position, turn in enumerate(turns):
        if is_instruction(turn):
            continue
        if starts_exchange(turn) or not groups:
            groups.append([])
        groups[-1].append(position)
    return groups


def frozen_turns(body: Mapping[str, Any], turns: Sequence[Turn]) -> int:
    """How many turns from the start a provider's prompt cache holds: changing one would forfeit the cheap
    rate."""
    if "cache_control" in body:  # the provider places the mark itself, on the last turn
        return len(turns)
    return max((position + 1 for position, turn in enumerate(turns) if _is_marked(turn)), default=0)


def is_system_frozen(body: Mapping[str, Any], *, frozen: int) -> bool:
    """Whether the separate system prompt of a messages body lies before a cache mark."""
    return frozen > 0 or "cache_control" in body or _is_marked({"content": body.get("system")})


def rewrite_texts(turn: Turn, rewrite: Rewrite) -> Turn:
    """The turn with every text in it rewritten, tool results included; the same object if none changed."""
    changed: dict[str, Any] = {}
    for field in ("content", "output"):
        if field in turn:
            content = rewrite_content(turn[field], rewrite)
            if content is not turn[field]:
                changed[field] = content
    return {**turn, **changed} if changed else turn


def rewrite_content(content: Any, rewrite: Rewrite) -> Any:
    """A content (a text, or parts) with its texts rewritten; the same object if none changed."""
    if isinstance(content, str):
        rewritten = rewrite(content)
        return content if rewritten == content else rewritten
    if not isinstance(content, list):
        return content
    parts = [_rewrite_part(part, rewrite) for part in content]
    return content if all(new is old for new, old in zip(parts, content, strict=True)) else parts


def texts_of(turn: Turn) -> list[str]:
    """Every text of the turn, tool results included, in order."""
    texts: list[str] = []

    def collect(text: str) -> str:
        texts.append(text)
        return text

    rewrite_texts(turn, collect)
    return texts


def _rewrite_part(part: Any, rewrite: Rewrite) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str):
        text = rewrite(part["text"])
        return part if text == part["text"] else {**part, "text": text}
    if part.get("type") == "tool_result":
        content = rewrite_content(part.get("content"), rewrite)
        return part if content is part.get("content") else {**part, "content": content}
    return part


def _is_marked(turn: Turn) -> bool:
    content = turn.get("content")
    if "cache_control" in turn:
        return True
    if not isinstance(content, list):
        return False
    return any(isinstance(part, dict) and ("cache_control" in part or _is_marked(part)) for part in content)
