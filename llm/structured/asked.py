"""Which form a request wants its answer to have, and what came instead, in each of the clients' protocols.

Invariant: pure. A form is a JSON schema of the text, any JSON object, or the arguments of the one tool that the model
must call. What the protocol leaves open (tools the model may call, a refusal, an answer cut short) is no error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from llm.wire import Body
from llm.wire.openai_responses_stream import output_text

ANY_OBJECT: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The schema, and the tool whose arguments must fit it; without a tool it is the text."""

    schema: dict[str, Any]
    tool: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One answer as JSON text; `why_not` says why there is nothing to be checked."""

    text: str = ""
    why_not: str = ""


def asked_of(api: str, body: Body) -> Asked | None:
    """The form a request asks for; None if it asks for none."""
    tool = _forced_tool(api, body.get("tool_choice"))
    if tool:
        schema = next((schema for name, schema in _tools(body) if name == tool), None)
        return Asked(schema, tool) if isinstance(schema, dict) else None
    schema = _text_schema(api, body)
    return Asked(schema) if isinstance(schema, dict) else None


def found_in(api: str, answer: Body, asked: Asked) -> list[Found]:
    """What the answer has in place of the form: one for each choice."""
    if api == "openai.chat":
        return [_in_choice(choice, asked) for choice in answer.get("choices") or ()]
    if api == "openai.responses":
        return [_in_response(answer, asked)]
    return [_in_message(answer, asked)]


def _forced_tool(api: str, choice: Any) -> str:
    if not isinstance(choice, dict):
        return ""
    if api == "anthropic.messages":
        name = choice.get("name") if choice.get("type") == "tool" else ""
    elif choice.get("type") != "function":
        name = ""
    else:
        inner = choice.get("function") if api == "openai.chat" else choice
        name = inner.get("name") if isinstance(inner, dict) else ""
    return name if isinstance(name, str) else ""


def _tools(body: Body) -> Iterator[tuple[Any, Any]]:
    """Names and schemas: `function.parameters` in chat, `parameters` in responses, `input_schema` in messages."""
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
            yield inner.get("name"), inner.get("parameters") or inner.get("input_schema")


def _text_schema(api: str, body: Body) -> Any:
    if api == "openai.chat":
        form = body.get("response_format")
    elif api == "openai.responses":
        form = _inside(body.get("text"), "format")
    elif api == "anthropic.messages":
        form = _inside(body.get("output_config"), "format") or body.get("output_format")
    else:
        return None
    kind = _inside(form, "type")
    if kind == "json_object":
        return ANY_OBJECT
    if kind != "json_schema":
        return None
    return (
        _inside(_inside(form, "json_schema"), "schema") if api == "openai.chat" else _inside(form, "schema")
    )


def _inside(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _in_choice(choice: Body, asked: Asked) -> Found:
    message = choice.get("message") or {}
    if choice.get("finish_reason") in ("length", "content_filter"):
        return Found(why_not="cut short")
    if message.get("refusal"):
        return Found(why_not="refused by the model")
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    if asked.tool:
        return _arguments(calls, asked)
    return Found(why_not="tools are called") if calls else Found(str(message.get("content") or ""))


def _in_response(answer: Body, asked: Asked) -> Found:
    output = answer.get("output") or []
    if answer.get("status") != "completed":
        return Found(why_not="cut short")
    parts = [part for item in output for part in item.get("content") or () if isinstance(part, dict)]
    if any(part.get("type") == "refusal" for part in parts):
        return Found(why_not="refused by the model")
    calls = [item for item in output if item.get("type") == "function_call"]
    if asked.tool:
        return _arguments(calls, asked)
    return Found(why_not="tools are called") if calls else Found(output_text(answer))


def _in_message(answer: Body, asked: Asked) -> Found:
    if answer.get("stop_reason") in ("max_tokens", "model_context_window_exceeded", "pause_turn"):
        return Found(why_not="cut short")
    if answer.get("stop_reason") == "refusal":
        return Found(why_not="refused by the model")
    content = answer.get("content") or []
    calls = [
        {"name": block.get("name"), "arguments": orjson.dumps(block.get("input")).decode()}
        for block in content
        if block.get("type") == "tool_use"
    ]
    if asked.tool:
        return _arguments(calls, asked)
    text = "".join(block["text"] for block in content if block.get("type") == "text")
    return Found(why_not="tools are called") if calls else Found(text)


def _arguments(calls: list[Body], asked: Asked) -> Found:
    return Found(next((str(call.get("arguments")) for call in calls if call.get("name") == asked.tool), ""))
