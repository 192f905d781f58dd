"""A chat completion request for an Anthropic model.

Invariant: what Anthropic has no counterpart for is refused by name; system messages keep their order among
themselves.
"""

from typing import Any, Final

import orjson

from llm.errors import InvalidRequest
from llm.wire import fields
from llm.wire.formats import Body
from llm.wire.translation.contract import StreamTranslator
from llm.wire.translation.messages_answers import ChatAnswerStream, chat_answer
from llm.wire.translation.refusing import Reader

TARGET: Final = "an Anthropic model"

# Anthropic's own parameters, which a chat client may send beside OpenAI's
_NATIVE: Final = (
    "thinking",
    "top_k",
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "speed",
)
_EFFORTS: Final = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_TOOL_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}
_SERVICE_TIERS: Final = {"auto": "auto", "default": "standard_only"}
_EMPTY_SCHEMA: Final = {"type": "object", "properties": {}}
_JSON_ONLY: Final = (
    "Answer with one valid JSON object and nothing else: no prose before or after it, no code fence."
)


class ChatToMessages:
    """An OpenAI chat client and an Anthropic model."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def request(self) -> Body:
        """The messages request, or Untranslatable. `max_tokens` is the caller's to set where the client
        did not."""
        reader = Reader(self._body, target=TARGET)
        system, messages = _messages(
            fields.objects({"messages": reader.take("messages")}, "messages", required=True)
        )
        translated: Body = {"model": reader.take("model", ""), "messages": messages}
        translated |= _limits(reader)
        translated |= _tools(reader)
        output_config, instruction = _output(reader)
        if instruction:
            system.append({"type": "text", "text": instruction})
        if system:
            is_plain = len(system) == 1 and system[0].keys() == {"type", "text"}
            translated["system"] = system[0]["text"] if is_plain else system
        if user := reader.take("safety_identifier") or reader.take("user"):
            translated["metadata"] = {"user_id": user}
        reader.ignore("user")
        translated |= _sampling(reader)
        thinking, effort = _effort(reader)
        translated |= thinking | reader.pass_on(_NATIVE)
        if config := {**(reader.take("output_config") or {}), **output_config, **effort}:
            translated["output_config"] = config
        _refuse_rest(reader)
        return translated

    def response(self, response: Body) -> Body:
        return chat_answer(response)

    def stream(self) -> StreamTranslator:
        return ChatAnswerStream()


def _limits(reader: Reader) -> Body:
    limits: Body = {}
    old, new = reader.take("max_tokens"), reader.take("max_completion_tokens")
    if limit := new or old:
        limits["max_tokens"] = limit
    stop = reader.take("stop")
    if stop:
        limits["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if reader.take("stream"):
        limits["stream"] = True
    tier = reader.take("service_tier")
    if tier is not None:
        if tier not in _SERVICE_TIERS:
            raise reader.refusal("service_tier")
        limits["service_tier"] = _SERVICE_TIERS[tier]
    return limits


def _sampling(reader: Reader) -> Body:
    sampling = reader.pass_on(("temperature", "top_p"))
    if sampling.get("temperature", 0) > 1:  # theirs ends at 1: to clamp would be to answer another question
        raise reader.refusal("temperature")
    return sampling


def _effort(reader: Reader) -> tuple[Body, Body]:
    effort = reader.take("reasoning_effort")
    if effort is None:
        return {}, {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}, {}
    if effort not in _EFFORTS:
        raise reader.refusal("reasoning_effort")
    return {}, {"effort": _EFFORTS[effort]}


def _output(reader: Reader) -> tuple[Body, str]:
    """The output format, and the instruction that stands in for JSON mode, which Anthropic does not have."""
    response_format = reader.take("response_format")
    if response_format is None:
        return {}, ""
    inner = reader.inside(response_format, "response_format")
    kind = inner.take("type")
    if kind == "text":
        return {}, ""
    if kind == "json_object":
        return {}, _JSON_ONLY
    if kind != "json_schema":
        raise inner.refusal("type")
    schema = inner.inside(inner.take("json_schema"), "json_schema")
    schema.ignore("name", "strict")  # a label; and Anthropic is always strict
    description = schema.take("description")
    shape = schema.take("schema") or _EMPTY_SCHEMA
    schema.done()
    if description and "description" not in shape:
        shape = {**shape, "description": description}
    return {"format": {"type": "json_schema", "schema": shape}}, ""


def _tools(reader: Reader) -> Body:
    tools = reader.take("tools")
    choice = reader.take("tool_choice")
    parallel = reader.take("parallel_tool_calls")
    if not tools:
        return {}
    translated: Body = {"tools": [_tool(reader, index, tool) for index, tool in enumerate(tools)]}
    if choice is None and parallel is not False:
        return translated
    translated["tool_choice"] = _tool_choice(reader, choice or "auto")
    if parallel is False and translated["tool_choice"]["type"] != "none":
        translated["tool_choice"]["disable_parallel_tool_use"] = True
    return translated


def _tool(reader: Reader, index: int, tool: Any) -> Body:
    inner = reader.inside(tool, "tools", index)
    if inner.take("type") != "function":
        raise inner.refusal("type")
    function = inner.inside(inner.take("function"), "function")
    translated = {"name": function.take("name"), **function.pass_on(("description",))}
    translated["input_schema"] = function.take("parameters") or _EMPTY_SCHEMA
    if function.take("strict"):
        translated["strict"] = True
    function.done()
    translated |= inner.pass_on(("cache_control",))
    inner.done()
    return translated


def _tool_choice(reader: Reader, choice: Any) -> Body:
    if isinstance(choice, str) and choice in _TOOL_CHOICES:
        return {"type": _TOOL_CHOICES[choice]}
    if (
        isinstance(choice, dict)
        and choice.get("type") == "function"
        and isinstance(choice.get("function"), dict)
    ):
        return {"type": "tool", "name": choice["function"].get("name")}
    raise reader.refusal("tool_choice")


def _refuse_rest(reader: Reader) -> None:
    reader.allow("n", 1)
    reader.allow("logprobs", False)
    reader.allow("top_logprobs", 0)
    reader.allow("presence_penalty", 0)
    reader.allow("frequency_penalty", 0)
    reader.allow("logit_bias", {})
    reader.allow("store", False)
    reader.allow("metadata", {})
    reader.allow("modalities", ["text"])
    reader.allow("verbosity", "medium")
    reader.allow("functions", [])
    reader.ignore("stream_options")  # usage always comes; who sees it is decided on the way back
    reader.ignore("prompt_cache_key")  # names a cache's place; Anthropic finds prefixes by themselves
    reader.done()


def _messages(messages: list[Body]) -> tuple[list[Body], list[Body]]:
    """System blocks, and turns in which what the user and the tools said stands together."""
    system: list[Body] = []
    turns: list[Body] = []
    for index, message in enumerate(messages):
        reader = Reader(message, target=TARGET, at=f"messages.{index}")
        role = reader.take("role")
        if role in ("system", "developer"):
            system += _blocks(reader)
        elif role == "user":
            _append(turns, "user", _blocks(reader))
        elif role == "tool":
            _append(turns, "user", [_tool_result(reader)])
        elif role == "assistant":
            _append(turns, "assistant", _assistant(reader))
        else:
            raise reader.refusal("role")
        reader.done()
    return system, [_plain(turn) for turn in turns]


def _append(turns: list[Body], role: str, blocks: list[Body]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _plain(turn: Body) -> Body:
    """A turn of one plain text is written as such."""
    blocks = turn["content"]
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return {**turn, "content": blocks[0]["text"]}
    return turn


def _tool_result(reader: Reader) -> Body:
    blocks = _blocks(reader)
    plain = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
    return {
        "type": "tool_result",
        "tool_use_id": reader.take("tool_call_id"),
        "content": blocks[0]["text"] if plain else blocks,
    }


def _assistant(reader: Reader) -> list[Body]:
    thinking = reader.take("thinking_blocks") or []
    reader.ignore(
        "reasoning_content", "reasoning", "annotations"
    )  # told to the client, never part of the prompt
    blocks = [*thinking, *(_blocks(reader) if reader.has("content") else ())]
    if refusal := reader.take("refusal"):
        blocks.append({"type": "text", "text": refusal})
    for index, call in enumerate(reader.take("tool_calls") or ()):
        inner = reader.inside(call, "tool_calls", index)
        inner.ignore("index")
        if inner.take("type", "function") != "function":
            raise inner.refusal("type")
        function = inner.inside(inner.take("function"), "function")
        arguments = _arguments(function.take("arguments") or "{}", at=f"messages.tool_calls.{index}")
        blocks.append(
            {"type": "tool_use", "id": inner.take("id"), "name": function.take("name"), "input": arguments}
        )
        function.done()
        inner.done()
    return [block for block in blocks if block.get("type") != "text" or block.get("text")]


def _arguments(arguments: Any, *, at: str) -> Any:
    try:
        decoded = orjson.loads(arguments)
    except (orjson.JSONDecodeError, TypeError):
        decoded = None
    if not isinstance(decoded, dict):
        raise InvalidRequest(f"The arguments of {at} are not a JSON object.", param=at)
    return decoded


def _blocks(reader: Reader) -> list[Body]:
    content = reader.take("content", "")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise reader.refusal("content")
    return [_block(reader.inside(part, "content", index)) for index, part in enumerate(content)]


def _block(part: Reader) -> Body:
    kind = part.take("type")
    if kind in ("text", "refusal"):
        block: Body = {"type": "text", "text": part.take(kind, "")}
    elif kind == "image_url":
        block = _image(part.inside(part.take("image_url"), "image_url"))
    elif kind == "file":
        block = _document(part.inside(part.take("file"), "file"))
    else:
        raise part.refusal("type")
    block |= part.pass_on(("cache_control",))
    part.done()
    return block


def _image(image: Reader) -> Body:
    image.allow("detail", "auto", "high")  # Anthropic always looks closely
    url = str(image.take("url", ""))
    image.done()
    if url.startswith("data:"):
        return {"type": "image", "source": _base64(image, url)}
    return {"type": "image", "source": {"type": "url", "url": url}}


def _document(file: Reader) -> Body:
    data = file.take("file_data")
    if not isinstance(data, str):
        raise file.refusal("file_id")
    title = file.take("filename")
    file.done()
    url = data if data.startswith("data:") else f"data:application/pdf;base64,{data}"
    return {"type": "document", "source": _base64(file, url), **({"title": title} if title else {})}


def _base64(reader: Reader, url: str) -> Body:
    kind, separator, data = url.removeprefix("data:").partition(";base64,")
    if not separator:
        raise reader.refusal("url")
    return {"type": "base64", "media_type": kind.partition(";")[0], "data": data}
