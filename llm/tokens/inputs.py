"""Counts the input tokens of a request of any protocol."""

from collections.abc import Callable, Mapping
from typing import Any

from llm.tokens import counting
from llm.wire import WireFormat

_COUNTERS: Mapping[str, Callable[[Mapping[str, Any], str], int]] = {
    "openai.chat": counting.count_chat,
    "openai.responses": counting.count_responses,
    "openai.completions": lambda body, model: counting.count_prompt(body.get("prompt"), model),
    "openai.embeddings": lambda body, model: counting.count_prompt(body.get("input"), model),
    "anthropic.messages": counting.count_messages,
}


def count_input(wire: WireFormat, body: Mapping[str, Any], model: str) -> int:
    """Input tokens of a body, framing, tools and images included; leans upwards where a provider publishes no rule."""
    return _COUNTERS[wire.api](body, model)
