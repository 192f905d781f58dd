"""What a prompt comes to beyond doubt: all that a refusal for its length may rest on."""

from typing import Any

import pytest

from llm.providers.kinds import KINDS
from llm.providers.target import Target
from llm.tokens.estimating import least_input
from llm.tokens.inputs import count_input
from llm.wire import format_for

WIRE = format_for("anthropic.messages")
TEXT = "word " * 1_000
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 400_000},
}


def target(model: str = "claude-opus-4-5") -> Target:
    kind = "anthropic" if model.startswith("claude") else "openai"
    return Target(
        model=model, provider="p", kind=KINDS[kind], base_url="http://x", api_key="", upstream=model
    )


def least(*, model: str = "claude-opus-4-5", betas: str = "", **facts: Any) -> int:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": TEXT}], **facts}
    return least_input(WIRE, body, target=target(model), passed_on={"anthropic-beta": betas})


def test_it_works() -> None:
    """No factor, no framing, no tools, nothing of what is counted by its bytes."""
    body = {"model": "m", "messages": [{"role": "user", "content": TEXT}]}
    assert 1_000 <= least() <= 1_001 < count_input(WIRE, body, "claude-opus-4-5")
    tools = [{"name": "f", "description": TEXT, "input_schema": {}}]
    pages = [{"role": "user", "content": [{"type": "text", "text": TEXT}, PDF]}]
    assert least(tools=tools) == least(messages=pages) == least()
    assert least(model="llama-3.3-70b") == least() * 3 // 4


@pytest.mark.parametrize(
    ("facts", "is_certain"),
    [
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}, True),
        ({"context_management": {"edits": []}}, True),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, False),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, False),
        ({"context_management": {"edits": ["?"]}}, False),
        ({"context_management": [{"type": "compaction"}]}, False),
        ({"truncation": "auto"}, False),
        ({"truncation": "disabled"}, True),
        ({"betas": "context-1m-2025-08-07"}, False),
        ({"betas": "interleaved-thinking-2025-05-14"}, True),
    ],
)
def test_nothing_is_certain_of_what_the_provider_shortens(facts: dict[str, Any], is_certain: bool) -> None:
    assert bool(least(**facts)) == is_certain
