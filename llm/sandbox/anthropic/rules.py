"""Owns what Anthropic refuses in a messages body that is well formed.

Invariant: pure; a refusal is a 400 in Anthropic's own words, which clients look for.
"""

import re
from collections.abc import Iterator
from typing import Any

from llm.sandbox.catalog import most_output_tokens_of, refuses_forced_tools
from llm.sandbox.errors import ProviderError

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_-]+")
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def check_rules(body: dict[str, Any]) -> None:
    """Raise 400 for what the real one refuses."""
    most, limit = most_output_tokens_of(str(body.get("model"))), body.get("max_tokens")
    if most and isinstance(limit, int) and limit > most:
        raise ProviderError(
            400,
            f"max_tokens: {limit} > {most}, which is the maximum allowed number of output tokens for {body['model']}",
        )
    _check_sampling(body)
    _check_tools(body)
    check_turns(body)


def check_turns(body: dict[str, Any]) -> None:
    """Raise 400 for turns that the real one refuses, when it answers and when it counts."""
    messages = body["messages"]
    last = len(messages) - 1
    asked: list[str] = []
    for block in body["system"] if isinstance(body.get("system"), list) else ():
        _check_text("system", block)
    for index, message in enumerate(messages):
        content, role = message["content"], message["role"]
        is_prefill = index == last and role == "assistant"
        if content in ("", []) and not is_prefill:
            raise ProviderError(
                400,
                f"messages.{index}: all messages must have non-empty content except for the optional final "
                f"assistant message",
            )
        if isinstance(content, str) and content and not content.strip():
            raise ProviderError(400, "messages: text content blocks must contain non-whitespace text")
        blocks = content if isinstance(content, list) else []
        for place, block in enumerate(blocks):
            _check_block(f"messages.{index}.content.{place}", block)
        _check_results(index, blocks, asked)
        asked = [] if role == "system" else _ids(blocks, "tool_use", "id")
        if is_prefill and _ends_blank(content):
            raise ProviderError(400, "messages: final assistant content cannot end with trailing whitespace")
    if asked:
        raise _unanswered(last, asked)


def _check_sampling(body: dict[str, Any]) -> None:
    thinking = body.get("thinking")
    is_thinking = isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")
    if is_thinking and body.get("temperature") not in (None, 1):
        raise ProviderError(400, "`temperature` may only be set to 1 when thinking is enabled.")
    for sequence in body.get("stop_sequences") or ():
        if isinstance(sequence, str) and not sequence.strip():
            raise ProviderError(400, "stop_sequences: each stop sequence must contain non-whitespace")
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") not in ("any", "tool"):
        return
    if is_thinking:
        raise ProviderError(400, "Thinking may not be enabled when tool_choice forces tool use.")
    if refuses_forced_tools(str(body.get("model"))):
        raise ProviderError(400, f"tool_choice: forced tool use is not supported by {body['model']}.")


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools") or []
    if body.get("tool_choice") and not tools:
        raise ProviderError(400, "tool_choice: may only be specified while providing tools")
    names: set[str] = set()
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, dict):
            raise ProviderError(400, f"tools.{index}: Input should be a valid dictionary")
        name = tool.get("name")
        if not isinstance(name, str):
            if str(tool.get("type", "custom")) in ("custom", "None"):
                raise ProviderError(400, f"tools.{index}.custom.name: Field required")
            continue
        if not TOOL_NAME.fullmatch(name):
            raise ProviderError(
                400, f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )
        if name in names:
            raise ProviderError(400, "tools: Tool names must be unique.")
        names.add(name)


def _check_block(place: str, block: Any) -> None:
    if not isinstance(block, dict):
        raise ProviderError(400, f"{place}: Input should be a valid dictionary")
    kind = block.get("type")
    _check_text("messages", block)
    if kind == "thinking" and not block.get("signature"):
        raise ProviderError(400, f"{place}.thinking.signature: Field required")
    if kind == "tool_use":
        if not isinstance(block.get("input"), dict):
            raise ProviderError(400, f"{place}.tool_use.input: Input should be a valid dictionary")
        if not TOOL_USE_ID.fullmatch(str(block.get("id", ""))):
            raise ProviderError(400, f"{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if not TOOL_NAME.fullmatch(str(block.get("name", ""))):
            raise ProviderError(
                400, f"{place}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'"
            )
    if kind == "tool_result" and isinstance(block.get("content"), list):
        for number, part in enumerate(block["content"]):
            _check_block(f"{place}.tool_result.content.{number}", part)
    source: Any = block.get("source")
    is_inline = kind == "image" and isinstance(source, dict) and source.get("type") == "base64"
    if is_inline and source.get("media_type") not in IMAGE_TYPES:
        raise ProviderError(
            400,
            f"{place}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' "
            f"or 'image/webp'",
        )


def _check_text(where: str, block: Any) -> None:
    if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
        if not block["text"]:
            raise ProviderError(400, f"{where}: text content blocks must be non-empty")
        if not block["text"].strip():
            raise ProviderError(400, f"{where}: text content blocks must contain non-whitespace text")


def _check_results(index: int, blocks: list[Any], asked: list[str]) -> None:
    """Each tool_use of the turn before has its result here, and each result its tool_use there."""
    given = _ids(blocks, "tool_result", "tool_use_id")
    for place, block in enumerate(blocks):
        if block.get("type") == "tool_result" and block.get("tool_use_id") not in asked:
            raise ProviderError(
                400,
                f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{block.get('tool_use_id')}. Each `tool_result` block must have a corresponding `tool_use` block in "
                f"the previous message.",
            )
    if missing := [identifier for identifier in asked if identifier not in given]:
        raise _unanswered(index - 1, missing)


def _unanswered(index: int, missing: list[str]) -> ProviderError:
    return ProviderError(
        400,
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
        f"message.",
    )


def _ids(blocks: list[Any], kind: str, name: str) -> list[str]:
    return list(_each_id(blocks, kind, name))


def _each_id(blocks: list[Any], kind: str, name: str) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, dict) and block.get("type") == kind:
            yield str(block.get(name))


def _ends_blank(content: Any) -> bool:
    if isinstance(content, list):
        content = content[-1].get("text") if content and isinstance(content[-1], dict) else ""
    return isinstance(content, str) and content != content.rstrip()
