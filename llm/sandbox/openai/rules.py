"""Owns what OpenAI refuses in chat and responses bodies that are well formed.

Invariant: pure; a refusal is a 400 in OpenAI's own words and with its codes, which clients look for.
"""

import re
from typing import Any

import orjson

from llm.sandbox.catalog import is_reasoning, most_output_tokens_of
from llm.sandbox.errors import ProviderError

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]+")
LONGEST_TOOL_NAME = 64
MOST_STOPS = 4
LEAST_OUTPUT_TOKENS = 16


def check_chat_rules(body: dict[str, Any]) -> None:
    """Raise 400 for what the real one refuses in a chat body."""
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise _refused(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise _refused(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    _check_reasoning(body)
    _check_limit(
        body, "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    )
    _check_tools(body)
    if body.get("tools") == []:
        raise _refused(
            "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "tools",
            "empty_array",
        )
    stops = body.get("stop")
    if isinstance(stops, list) and len(stops) > MOST_STOPS:
        raise _refused(
            f"Invalid 'stop': array too long. Expected an array with maximum length {MOST_STOPS}, but got an array "
            f"with length {len(stops)} instead.",
            "stop",
            "array_above_max_length",
        )
    _check_turns(body["messages"])
    asked = body.get("response_format")
    wants_json = isinstance(asked, dict) and asked.get("type") == "json_object"
    if wants_json and b"json" not in orjson.dumps(body["messages"], default=str).lower():
        raise _refused(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )


def check_response_rules(body: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """Raise 400 for what the real one refuses in a responses body, whose conversation these items are."""
    _check_limit(body, "max_output_tokens")
    _check_tools(body)
    calls = [item.get("call_id") for item in items if item.get("type") == "function_call"]
    results = [item.get("call_id") for item in items if item.get("type") == "function_call_output"]
    for call_id in results:
        if call_id not in calls:
            raise _refused(f"No tool call found for function call output with call_id {call_id}.", "input")
    for call_id in calls:
        if call_id not in results:
            raise _refused(f"No tool output found for function call {call_id}.", "input")


def _check_reasoning(body: dict[str, Any]) -> None:
    if not is_reasoning(str(body.get("model"))):
        return
    if body.get("max_tokens") is not None:
        raise _refused(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if body.get("temperature") not in (None, 1):
        raise _refused(
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. Only the "
            f"default (1) value is supported.",
            "temperature",
            "unsupported_value",
        )


def _check_limit(body: dict[str, Any], name: str) -> None:
    most, limit = most_output_tokens_of(str(body.get("model"))), body.get(name)
    if most and isinstance(limit, int) and limit > most:
        raise _refused(
            f"{name} is too large: {limit}. This model supports at most {most} completion tokens, whereas you "
            f"provided {limit}.",
            name,
            "invalid_value",
        )


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise _refused("Invalid type for 'tools': expected an array.", "tools", "invalid_type")
    if not tools and body.get("tool_choice") not in (None, "none", "auto"):
        raise _refused("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    for index, tool in enumerate(tools or ()):
        function = (
            tool.get("function", tool) if isinstance(tool, dict) and tool.get("type") == "function" else None
        )
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and (not TOOL_NAME.fullmatch(name) or len(name) > LONGEST_TOOL_NAME):
            place = f"tools[{index}].function.name"
            raise _refused(
                f"Invalid '{place}': string does not match pattern. Expected a string that matches the pattern "
                f"'^[a-zA-Z0-9_-]+$'.",
                place,
                "invalid_value",
            )


def _check_turns(messages: list[Any]) -> None:
    waiting: list[str] = []
    for index, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                raise _refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    f"messages.[{index}].role",
                )
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            raise _unanswered(waiting)
        calls = message.get("tool_calls")
        waiting = [str(call.get("id")) for call in calls] if isinstance(calls, list) else []
        speaks = waiting or message.get("function_call") or message.get("refusal") or message.get("audio")
        if content is None and not (role == "assistant" and speaks):
            raise _refused(
                "Invalid value for 'content': expected a string, got null.", f"messages.[{index}].content"
            )
        if content == []:
            raise _refused(
                f"Invalid 'messages[{index}].content': empty array. Expected an array with minimum length 1, but got "
                f"an empty array instead.",
                f"messages[{index}].content",
                "empty_array",
            )
        _check_parts(index, content)
    if waiting:
        raise _unanswered(waiting)


def _check_parts(index: int, content: Any) -> None:
    for place, part in enumerate(content if isinstance(content, list) else ()):
        image = part.get("image_url") if isinstance(part, dict) else None
        url = image.get("url") if isinstance(image, dict) else None
        if isinstance(url, str) and url.startswith("data:") and not url.startswith("data:image/"):
            raise _refused(
                "Invalid MIME type. Only image types are supported.",
                f"messages[{index}].content[{place}].image_url",
                "invalid_image_format",
            )


def _unanswered(waiting: list[str]) -> ProviderError:
    return _refused(
        f"An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(waiting)}",
        "messages",
    )


def _refused(message: str, param: str, code: str | None = None) -> ProviderError:
    return ProviderError(400, message, param=param, code=code)
