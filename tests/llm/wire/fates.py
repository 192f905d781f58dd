"""The fates of what an official SDK sends: what it becomes in the other provider's words, or that it is refused."""

from typing import Any

import pytest

from llm.providers.kinds import KINDS
from llm.wire import WIRE_FORMATS, Untranslatable, prepare

REFUSED = object()  # by its name
LET_GO = object()  # nothing of it is sent, and nothing of the answer changes
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
USER = {"role": "user", "content": "Hi"}
MARK = {"type": "ephemeral"}

# client's protocol, the provider's kind, the least body
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat to messages": ("openai_chat", "anthropic", {"model": "m", "messages": [USER]}),
    "messages to chat": (
        "anthropic_messages",
        "openai",
        {"model": "m", "messages": [USER], "max_tokens": 9},
    ),
    "responses to messages": ("openai_responses", "anthropic", {"model": "m", "input": "Hi"}),
}


def sent(way: str, **facts: Any) -> dict[str, Any]:
    """The body that goes out for the least request with these fields."""
    wire, kind, least = WAYS[way]
    return prepare(
        WIRE_FORMATS[wire],
        {**least, **facts},
        kind=KINDS[kind],
        upstream_model="upstream",
        max_output_tokens=None,
    ).body


def check(way: str, field: str, facts: dict[str, Any], expected: Any) -> None:
    if expected is REFUSED:
        with pytest.raises(Untranslatable) as caught:
            sent(way, **facts)
        assert str(caught.value.param).startswith(field)
        return
    outcome = {**sent(way), **(expected if expected is not LET_GO else {})}
    hidden = {"stream_options"} if expected == {"stream": True} else set()  # usage is asked for in streams
    assert {name: value for name, value in sent(way, **facts).items() if name not in hidden} == outcome
