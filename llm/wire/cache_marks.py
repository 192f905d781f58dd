"""Marks the stable prefix of an Anthropic request, so that the provider reads it from its cache the next time.

Invariant: pure; a request in which the client set any mark is left alone, and what is marked is what a next request
is likely to begin with: tools and system, and a conversation up to its last turn.
"""

from collections.abc import Callable
from typing import Any, Final

from llm.wire.formats import Body

LEAST_TOKENS: Final = 1024  # shorter prefixes are not cached by any model
_MARK: Final = {"type": "ephemeral"}
_UNMARKABLE: Final = ("thinking", "redacted_thinking")


def with_cache_marks(
    body: Body,
    *,
    count: Callable[[Body], int],
    least_tokens: int = LEAST_TOKENS,
    may_be_marked: bool = True,
) -> Body:
    """The messages request with marks where they pay, or the same object. `count` gives a body's input tokens;
    `may_be_marked` is false where it is known that the client set no mark."""
    messages = body.get("messages") or []
    prefix = {name: body[name] for name in ("system", "tools") if body.get(name)}
    if may_be_marked and _is_marked(body):
        return body
    marked = body
    if prefix and count({**prefix, "messages": []}) >= least_tokens:
        marked = _mark_prefix(body)
    is_conversation = any(message.get("role") == "assistant" for message in reversed(messages))
    if is_conversation and count(body) - _own_tokens(body, messages[-1], count) >= least_tokens:
        last = _mark_last(messages[-1].get("content"))
        marked = {**marked, "messages": [*messages[:-1], {**messages[-1], "content": last}]}
    return marked


def _own_tokens(body: Body, turn: Body, count: Callable[[Body], int]) -> int:
    """What a body has besides its prefix and the other turns: of its own counting, so that all is not counted again."""
    thinking = {"thinking": body["thinking"]} if "thinking" in body else {}
    return count({**thinking, "messages": [turn]}) - count({"messages": []})


def _is_marked(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("cache_control") is not None or any(
            _is_marked(value[name]) for name in ("system", "tools", "messages", "content") if name in value
        )
    return isinstance(value, list) and any(_is_marked(item) for item in value)


def _mark_prefix(body: Body) -> Body:
    """One mark at the end of the system prompt covers the tools before it."""
    if body.get("system"):
        return {**body, "system": _mark_last(body["system"])}
    return {**body, "tools": [*body["tools"][:-1], {**body["tools"][-1], "cache_control": _MARK}]}


def _mark_last(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content, "cache_control": _MARK}] if content else content
    if not isinstance(content, list) or not content or not isinstance(content[-1], dict):
        return content
    if content[-1].get("type") in _UNMARKABLE:
        return content
    return [*content[:-1], {**content[-1], "cache_control": _MARK}]
