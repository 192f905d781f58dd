"""Owns what Anthropic's message bodies ask: from the wire format to a Prompt and to the blocks of its prefix.

Invariant: every field read here is checked; a bad one is a 400 that names it.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from llm.sandbox.anthropic.rules import check_rules
from llm.sandbox.errors import ProviderError
from llm.sandbox.prompt import Prompt, Tool, Turn, image_count, text_of
from llm.sandbox.prompt_cache import Block
from llm.sandbox.validation import number, strings, whole_number
from llm.tokens import counting

MOST_BREAKPOINTS = 4
THINKING_TOKENS = 96
# the protocol has no JSON mode: its models get an instruction
ASKS_FOR_JSON = re.compile(
    r"\b(?:only|one|single)\b[^.]{0,30}\bJSON\b|\bJSON (?:only|and nothing else)\b", re.I
)


def message_prompt(body: dict[str, Any], model: str) -> Prompt:
    """The question a messages body asks; raises 400 for a bad field."""
    if whole_number(body, "max_tokens", least=1) is None:
        raise ProviderError(400, "max_tokens: Field required")
    check_messages(body)
    check_rules(body)
    number(body, "temperature", least=0, most=1)
    number(body, "top_p", least=0, most=1)
    turns: list[Turn] = []
    images = 0
    for message in body["messages"]:
        content = message["content"]
        if message["role"] != "system":
            turns.extend(_turns(message["role"], content))
            images += image_count(content)
    tools = body.get("tools")
    schema = _output_schema(body)
    system = text_of(body.get("system"))
    return Prompt(
        model=model,
        turns=tuple(turns),
        system=system,
        tools=tuple(_tools(tools)),
        tool_choice=_tool_choice(body.get("tool_choice")),
        is_parallel=not (
            isinstance(body.get("tool_choice"), dict) and body["tool_choice"].get("disable_parallel_tool_use")
        ),
        schema=schema,
        wants_json=schema is not None or bool(ASKS_FOR_JSON.search(system)),
        image_count=images,
        max_tokens=body["max_tokens"],
        stop=strings(body.get("stop_sequences"), "stop_sequences"),
        reasoning_tokens=_thinking_tokens(body),
    )


def check_messages(body: dict[str, Any]) -> None:
    """Raise 400 for messages that are no messages."""
    messages = body.get("messages")
    if messages is None:
        raise ProviderError(400, "messages: Field required")
    if not isinstance(messages, list) or not messages:
        raise ProviderError(400, "messages: at least one message is required")
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant", "system"):
            raise ProviderError(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if not isinstance(message.get("content"), (str, list)):
            raise ProviderError(400, f"messages.{index}.content: Field required")


def prefix_blocks(body: dict[str, Any], model: str, total: int) -> list[Block]:
    """The prompt in the order of its prefix (tools, system, messages), scaled to the total that is billed."""
    parts: list[tuple[str, Any]] = [("tools", tool) for tool in body.get("tools") or ()]
    system = body.get("system")
    parts += [
        ("system", block) for block in (system if isinstance(system, list) else [system] if system else ())
    ]
    for message in body["messages"]:
        content = message["content"]
        listed = content if isinstance(content, list) else [{"type": "text", "text": content}]
        parts += [(message["role"], block) for block in listed]
    if isinstance(body.get("cache_control"), dict) and parts and isinstance(parts[-1][1], dict):
        parts[-1] = (parts[-1][0], parts[-1][1] | {"cache_control": body["cache_control"]})
    blocks = [_block(role, part, model) for role, part in parts]
    if len([block for block in blocks if block.ttl_seconds]) > MOST_BREAKPOINTS:
        raise ProviderError(
            400, f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided."
        )
    counted = sum(block.tokens for block in blocks)
    if counted > total:
        blocks = [
            Block(block.content, block.tokens * total // counted, block.ttl_seconds) for block in blocks
        ]
    return blocks


def _turns(role: str, content: Any) -> Iterator[Turn]:
    text = text_of(content)
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "tool_result":
            yield Turn("tool", text_of(block.get("content")))
    if text or not isinstance(content, list):
        yield Turn(role, text)


def _tools(tools: Any) -> Iterator[Tool]:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("input_schema"), dict) and tool.get("name"):
            yield Tool(str(tool["name"]), str(tool.get("description") or ""), tool["input_schema"])


def _tool_choice(choice: Any) -> str:
    if not isinstance(choice, dict):
        return "auto"
    if choice.get("type") == "tool":
        return str(choice.get("name"))
    return {"any": "required", "none": "none"}.get(str(choice.get("type")), "auto")


def _output_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    config = body.get("output_config")
    asked = config.get("format") if isinstance(config, dict) else body.get("output_format")
    schema = asked.get("schema") if isinstance(asked, dict) else None
    return schema if isinstance(schema, dict) else None


def _thinking_tokens(body: dict[str, Any]) -> int:
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") == "disabled":
        return 0
    budget = thinking.get("budget_tokens")
    if thinking.get("type") == "enabled":
        if not isinstance(budget, int) or budget < 1_024:
            raise ProviderError(
                400, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
            )
        if budget >= body["max_tokens"]:
            raise ProviderError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    return min(THINKING_TOKENS, budget) if isinstance(budget, int) else THINKING_TOKENS


def _block(role: str, part: Any, model: str) -> Block:
    if not isinstance(part, dict):
        return Block(f"{role}:{part}".encode(), counting.count_text(str(part), model))
    control = part.get("cache_control")
    ttl = 0
    if isinstance(control, dict):
        ttl = 3600 if control.get("ttl") == "1h" else 300
    bare = {name: value for name, value in part.items() if name != "cache_control"}
    content = role.encode() + orjson.dumps(bare)
    if role == "tools":
        return Block(content, counting.count_messages({"tools": [bare]}, model) - counting.REPLY_PRIMING, ttl)
    counted = counting.count_messages({"system": [bare]}, model) - counting.REPLY_PRIMING
    return Block(content, counted + (0 if role == "system" else counting.ANTHROPIC_TOKENS_PER_MESSAGE), ttl)
