"""Owns what OpenAI's chat bodies ask: from the wire format to a Prompt.

Invariant: every field read here is checked; a bad one is a 400 that names it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llm.sandbox.catalog import reasoning_tokens_of
from llm.sandbox.errors import ProviderError
from llm.sandbox.openai.rules import check_chat_rules
from llm.sandbox.prompt import Prompt, Tool, Turn, image_count, text_of
from llm.sandbox.validation import number, strings, whole_number

ROLES = ("system", "assistant", "user", "function", "tool", "developer")


def chat_prompts(body: dict[str, Any], model: str) -> list[Prompt]:
    """The question a chat body asks, once for each of its `n` choices."""
    prompt = _chat_prompt(body, model)
    check_chat_rules(body)
    count = whole_number(body, "n", least=1, most=128) or 1
    return [prompt, *(replace(prompt, variant=index) for index in range(1, count))]


def response_format(asked: Any) -> tuple[dict[str, Any] | None, bool]:
    """The schema an answer must match, and whether it must be JSON at all."""
    if not isinstance(asked, dict) or asked.get("type") in (None, "text"):
        return None, False
    if asked["type"] == "json_object":
        return None, True
    described = asked.get("json_schema", asked)
    schema = described.get("schema") if isinstance(described, dict) else None
    if asked["type"] != "json_schema" or not isinstance(schema, dict):
        raise ProviderError(
            400, "Invalid value for 'response_format'.", param="response_format", code="invalid_value"
        )
    return schema, True


def function_tools(tools: Any) -> Iterator[Tool]:
    """The functions among an OpenAI `tools` list, in chat's shape or in that of responses."""
    for tool in tools if isinstance(tools, list) else ():
        is_function = isinstance(tool, dict) and tool.get("type") == "function"
        function = tool.get("function", tool) if is_function else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            yield Tool(
                name=function["name"],
                description=str(function.get("description") or ""),
                schema=schema if isinstance(schema, dict) else {},
            )


def tool_choice(choice: Any) -> str:
    """auto, none, required or a function's name, from either API's shape."""
    if isinstance(choice, dict):
        named = choice.get("function", choice)
        return str(named.get("name") or choice.get("mode") or "required")
    return choice if isinstance(choice, str) else "auto"


def _chat_prompt(body: dict[str, Any], model: str) -> Prompt:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ProviderError(
            400,
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    turns: list[Turn] = []
    system: list[str] = []
    images = 0
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise ProviderError(
                400,
                f"Invalid value: '{role}'. Supported values are: {', '.join(map(repr, ROLES))}.",
                param=f"messages[{index}].role",
                code="invalid_value",
            )
        text = text_of(message.get("content"))
        if role in ("system", "developer"):
            system.append(text)
        else:
            turns.append(Turn("tool" if role == "function" else role, text))
            images += image_count(message.get("content"))
    number(body, "temperature", least=0, most=2)
    number(body, "top_p", least=0, most=1)
    schema, wants_json = response_format(body.get("response_format"))
    limit = whole_number(body, "max_completion_tokens", least=1)
    if limit is None:
        limit = whole_number(body, "max_tokens", least=1)
    return Prompt(
        model=model,
        turns=tuple(turns),
        system="\n".join(system),
        tools=tuple(_tools(body)),
        tool_choice=tool_choice(body.get("tool_choice", body.get("function_call"))),
        is_parallel=body.get("parallel_tool_calls") is not False,
        schema=schema,
        wants_json=wants_json,
        image_count=images,
        max_tokens=limit,
        stop=strings(body.get("stop"), "stop"),
        reasoning_tokens=reasoning_tokens_of(model, body.get("reasoning_effort")),
    )


def _tools(body: dict[str, Any]) -> Iterator[Tool]:
    yield from function_tools(body.get("tools"))
    legacy = body.get("functions")
    if isinstance(legacy, list):
        yield from function_tools([{"type": "function", "function": function} for function in legacy])
