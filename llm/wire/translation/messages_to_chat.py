"""A messages request for an OpenAI model.

Invariant: what OpenAI has no counterpart for is refused by name. Cache marks are dropped: OpenAI caches by
itself; so is the thinking of earlier turns, which only the model that wrote it can read.
"""

from math import inf
from typing import Any, Final

import orjson

from llm.wire.formats import Body
from llm.wire.people import bounded, named_in
from llm.wire.texts import fields
from llm.wire.translation.chat_answers import MessagesAnswerStream, messages_answer
from llm.wire.translation.contract import StreamTranslator
from llm.wire.translation.media import media_type
from llm.wire.translation.refusing import Reader

TARGET: Final = "an OpenAI model"
MOST_STOPS: Final = 4
LONGEST_USER: Final = 64  # OpenAI refuses a longer one

_TOOL_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_BUDGETS: Final = ((4_096, "low"), (16_384, "medium"), (inf, "high"))  # tokens of thinking
_SERVICE_TIERS: Final = {"auto": "auto", "standard_only": "default"}
# none that holds data of its own
_HOSTED: Final = ("web_search_", "web_fetch_", "tool_search_tool_", "advisor_")
_FAILED: Final = "The tool failed: "
_SHOWN: Final = "What the tool has shown in its result"
_SEE_BEHIND: Final = "The result is in the next message of the user."
_EMPTY: Final[Body] = {"type": "text", "text": ""}


class MessagesToChat:
    """An Anthropic client and an OpenAI model."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.let_go: list[str] = []

    def request(self) -> Body:
        """The chat request, or Untranslatable."""
        reader = Reader(self._body, target=TARGET, let_go=self.let_go)
        given = fields.objects({"messages": reader.take("messages")}, "messages", required=True)
        translated: Body = {
            "model": reader.take("model", ""),
            "messages": [*_system(reader), *_messages(given)],
        }
        translated |= reader.pass_on(("max_tokens", "temperature", "top_p", "stream"))
        if stops := reader.take("stop_sequences"):
            if len(stops) > MOST_STOPS:
                raise reader.refusal("stop_sequences")
            translated["stop"] = list(stops)
        translated |= _tools(reader)
        translated |= _output(reader)
        if (metadata := reader.take("metadata")) is not None:
            inner = reader.inside(metadata, "metadata")
            if isinstance(named := inner.take("user_id"), str) and (user := named_in(named).person):
                translated["user"] = bounded(user, LONGEST_USER)
            inner.done()
        if (tier := reader.take("service_tier")) is not None:
            if tier not in _SERVICE_TIERS:
                raise reader.refusal("service_tier")
            translated["service_tier"] = _SERVICE_TIERS[tier]
        if (thinking := reader.take("thinking")) is not None:
            effort = _thinking(reader.inside(thinking, "thinking"))
            translated = effort | translated
        reader.allow("speed", "standard")
        reader.ignore("cache_control")
        reader.let_go("context_management")  # how the provider may shorten what it was sent
        reader.done()
        return translated

    def response(self, response: Body) -> Body:
        return messages_answer(response, model=str(self._body.get("model") or ""))

    def stream(self) -> StreamTranslator:
        return MessagesAnswerStream(model=str(self._body.get("model") or ""))


def _thinking(thinking: Reader) -> Body:
    """OpenAI's models take an effort where Anthropic's take a budget, and show none of what they think."""
    thinking.let_go("display", harmless="omitted")
    kind, budget = thinking.take("type"), thinking.take("budget_tokens")
    if kind not in ("disabled", "adaptive", "enabled"):
        raise thinking.refusal("type")
    thinking.done()
    if kind != "enabled" or not isinstance(budget, int):
        return {}
    return {"reasoning_effort": next(effort for most, effort in _BUDGETS if budget <= most)}


def _output(reader: Reader) -> Body:
    config = reader.take("output_config")
    if config is None:
        return {}
    inner = reader.inside(config, "output_config")
    translated: Body = {}
    if (effort := inner.take("effort")) is not None:
        if effort not in _EFFORTS:
            raise inner.refusal("effort")
        translated["reasoning_effort"] = _EFFORTS[effort]
    if (output_format := inner.take("format")) is not None:
        shape = inner.inside(output_format, "format")
        shape.allow("type", "json_schema")
        schema = {"name": "answer", "schema": shape.take("schema"), "strict": True}
        translated["response_format"] = {"type": "json_schema", "json_schema": schema}
        shape.done()
    inner.done()
    return translated


def _tools(reader: Reader) -> Body:
    tools = reader.take("tools")
    if not tools:
        reader.allow("tool_choice", {"type": "auto"}, {"type": "none"})
        return {}
    if not isinstance(tools, list):
        raise reader.refusal("tools")
    choice = reader.take("tool_choice")
    of_the_client = [(index, tool) for index, tool in enumerate(tools) if not _is_hosted(tool)]
    chosen = choice.get("name") if isinstance(choice, dict) else None
    for index, tool in enumerate(tools):
        if _is_hosted(tool):  # what is all there is, or has to be called, is more than a hint
            if not of_the_client or chosen == tool.get("name"):
                raise reader.inside(tool, "tools", index).refusal("type")
            reader.note_let_go(f"tools.{index} ({tool['type']})")
    translated: Body = {"tools": [_tool(reader, index, tool) for index, tool in of_the_client]}
    if choice is not None:
        inner = reader.inside(choice, "tool_choice")
        kind = inner.take("type")
        if kind == "tool":
            translated["tool_choice"] = {"type": "function", "function": {"name": inner.take("name")}}
        elif isinstance(kind, str) and kind in _TOOL_CHOICES:
            translated["tool_choice"] = _TOOL_CHOICES[kind]
        else:
            raise inner.refusal("type")
        if inner.take("disable_parallel_tool_use"):
            translated["parallel_tool_calls"] = False
        inner.done()
    return translated


def _is_hosted(tool: Any) -> bool:
    """Whether the provider itself runs the tool."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind.startswith(_HOSTED)


def _tool(reader: Reader, index: int, tool: Any) -> Body:
    inner = reader.inside(tool, "tools", index)
    inner.allow("type", "custom")
    inner.ignore("cache_control", "eager_input_streaming")
    inner.let_go("defer_loading", harmless=False)
    inner.allow("allowed_callers", ["direct"])
    function = {"name": inner.take("name"), **inner.pass_on(("description", "strict"))}
    function["parameters"] = inner.take("input_schema")
    inner.done()
    return {"type": "function", "function": function}


def _system(reader: Reader) -> list[Body]:
    system = reader.take("system")
    if not system:
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}]
    return [{"role": "system", "content": _texts(reader, system, "system")}]


def _messages(messages: list[Body]) -> list[Body]:
    translated: list[Body] = []
    for index, message in enumerate(messages):
        reader = Reader(message, target=TARGET, at=f"messages.{index}")
        role = reader.take("role")
        content = reader.take("content", "")
        reader.done()
        if isinstance(content, str):
            if role not in ("user", "assistant", "system"):
                raise reader.refusal("role")
            translated.append({"role": role, "content": content})
        elif not isinstance(content, list):
            raise reader.refusal("content")
        elif role == "assistant":
            if (answer := _assistant(reader, content)) is not None:
                translated.append(answer)
        elif role == "user":
            translated += _user(reader, content)
        elif role == "system":
            translated.append({"role": "system", "content": _texts(reader, content, "content")})
        else:
            raise reader.refusal("role")
    return translated


def _assistant(reader: Reader, content: list[Any]) -> Body | None:
    """The answer of a turn; None of one that only thought, which OpenAI's protocol has no place for."""
    texts: list[str] = []
    calls: list[Body] = []
    for index, block in enumerate(content):
        inner = reader.inside(block, "content", index)
        inner.ignore("cache_control", "citations", "caller")
        kind = inner.take("type")
        if kind == "text":
            texts.append(inner.take("text", ""))
        elif kind == "tool_use":
            arguments = orjson.dumps(inner.take("input", {})).decode()
            function = {"name": inner.take("name"), "arguments": arguments}
            calls.append({"id": inner.take("id"), "type": "function", "function": function})
        elif kind in ("thinking", "redacted_thinking"):
            continue
        else:
            raise inner.refusal("type")
        inner.done()
    if not calls and not any(texts):
        return None
    message: Body = {"role": "assistant", "content": "".join(texts) or None}
    return {**message, "tool_calls": calls} if calls else message


def _user(reader: Reader, content: list[Any]) -> list[Body]:
    """What tools said, each as a message of its own, and what the user said, in their order."""
    messages: list[Body] = []
    parts: list[Body] = []
    shown: list[Body] = []  # by tools: it follows their results
    for index, block in enumerate(content):
        inner = reader.inside(block, "content", index)
        inner.ignore("cache_control")
        if inner.peek("type") == "tool_result":
            if parts:
                messages.append({"role": "user", "content": parts})
                parts = []
            messages.append(_tool_result(inner, shown))
        else:
            parts.append(_part(inner))
        inner.done()
    parts = [*shown, *(part for part in parts if part != _EMPTY or len(parts) == 1)]
    if parts:
        only_text = len(parts) == 1 and parts[0]["type"] == "text"
        messages.append({"role": "user", "content": parts[0]["text"] if only_text else parts})
    return messages


def _tool_result(inner: Reader, shown: list[Body]) -> Body:
    """The message of a tool. It takes texts alone: what else the tool has shown goes to the user message behind."""
    inner.take("type")
    content, call_id = inner.take("content", ""), inner.take("tool_use_id")
    result: str | list[Body] = content
    if not isinstance(content, str):
        parts = _result_parts(inner, content)
        result = [part for part in parts if part["type"] == "text"]
        if others := [part for part in parts if part["type"] != "text"]:
            shown += [{"type": "text", "text": f"{_SHOWN} {call_id}:"}, *others]
            result = result or [{"type": "text", "text": _SEE_BEHIND}]
    if inner.take("is_error"):
        lead = {"type": "text", "text": _FAILED}
        result = _FAILED + result if isinstance(result, str) else [lead, *result]
    return {"role": "tool", "tool_call_id": call_id, "content": result or ""}


def _result_parts(inner: Reader, blocks: Any) -> list[Body]:
    if not isinstance(blocks, list):
        raise inner.refusal("content")
    parts = []
    for index, block in enumerate(blocks):
        one = inner.inside(block, "content", index)
        one.ignore("cache_control")
        parts.append(_part(one))
        one.done()
    return parts


def _texts(reader: Reader, blocks: Any, name: str) -> list[Body]:
    """Text blocks as text parts; anything else is refused by its place."""
    if not isinstance(blocks, list):
        raise reader.refusal(name)
    parts = []
    for index, block in enumerate(blocks):
        inner = reader.inside(block, name, index)
        inner.ignore("cache_control", "citations")
        if inner.take("type") != "text":
            raise inner.refusal("type")
        parts.append({"type": "text", "text": inner.take("text", "")})
        inner.done()
    return parts


def _part(inner: Reader) -> Body:
    kind = inner.take("type")
    if kind == "text":
        inner.ignore("citations")
        return {"type": "text", "text": inner.take("text", "")}
    source = inner.inside(inner.take("source"), "source") if kind in ("image", "document") else None
    if source is None:
        raise inner.refusal("type")
    origin = source.take("type")
    if kind == "image" and origin == "base64":
        url = f"data:{media_type(source.take('media_type'))};base64,{source.take('data')}"
        part: Body = {"type": "image_url", "image_url": {"url": url}}
    elif kind == "image" and origin == "url":
        part = {"type": "image_url", "image_url": {"url": source.take("url")}}
    elif kind == "document" and origin == "base64":
        data = f"data:{source.take('media_type')};base64,{source.take('data')}"
        part = {
            "type": "file",
            "file": {"filename": inner.take("title") or "document.pdf", "file_data": data},
        }
    elif kind == "document" and origin == "text":
        source.ignore("media_type")
        heading = "\n".join(filter(None, (inner.take("title"), inner.take("context"))))
        part = {
            "type": "text",
            "text": f"{heading}\n{source.take('data')}" if heading else source.take("data"),
        }
    else:
        raise source.refusal("type")
    source.done()
    if (citations := inner.take("citations")) and citations.get("enabled"):
        raise inner.refusal("citations")
    return part
