"""A responses request as a chat request: the first half of the way to an Anthropic model.

Invariant: what a stateless chat cannot do (stored conversations, background work, hosted tools) is refused
by name.
"""

from collections.abc import Iterable
from typing import Any, Final

from llm.wire.formats import Body
from llm.wire.translation.chat_to_messages import TARGET, ChatToMessages
from llm.wire.translation.chat_turns import SDK_READINGS
from llm.wire.translation.contract import StreamTranslator
from llm.wire.translation.namespaces import Namespaces
from llm.wire.translation.refusing import Reader
from llm.wire.translation.responses_answers import ResponsesAnswerStream, responses_answer

_SAME: Final = (
    "temperature",
    "top_p",
    "user",
    "safety_identifier",
    "parallel_tool_calls",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "stream",
)
_HOSTED: Final = ("web_search", "image_generation", "tool_search")  # none that holds data of its own
_CALLS_OF_HOSTED_TOOLS: Final = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "tool_search_call", "tool_search_output"}
)
_WITHOUT_A_COUNTERPART: Final = (
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
    "file_search_call.results",
    "code_interpreter_call.outputs",
)
_OF_ITEMS: Final = ("internal_chat_message_metadata_passthrough", "metadata")  # of the client's own
_ROLES: Final = ("user", "assistant", "system", "developer")  # a tuple: a role that is no text must not raise


class ResponsesToMessages:
    """An OpenAI responses client and an Anthropic model, by way of chat."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._namespaces = Namespaces(body.get("tools"))
        self.let_go: list[str] = []

    def request(self) -> Body:
        """The messages request, or Untranslatable."""
        reader = Reader(self._body, target=TARGET, let_go=self.let_go)
        second = ChatToMessages(_chat_request(reader, self._namespaces))
        translated = second.request()
        self.let_go += second.let_go
        return translated

    def response(self, response: Body) -> Body:
        answer = responses_answer(ChatToMessages({}).response(response), request=self._body)
        return self._namespaces.in_client_names(answer)

    def stream(self) -> StreamTranslator:
        return _Chained(ChatToMessages({}).stream(), ResponsesAnswerStream(self._body), self._namespaces)


class _Chained:
    """Two translations of a stream, one after the other."""

    def __init__(self, first: StreamTranslator, second: StreamTranslator, namespaces: Namespaces) -> None:
        self._first = first
        self._second = second
        self._namespaces = namespaces

    def feed(self, payload: Body) -> list[Body]:
        return self._in_client_names(
            event for middle in self._first.feed(payload) for event in self._second.feed(middle)
        )

    def end(self) -> list[Body]:
        events = [event for middle in self._first.end() for event in self._second.feed(middle)]
        return self._in_client_names([*events, *self._second.end()])

    def _in_client_names(self, events: Iterable[Body]) -> list[Body]:
        return [self._namespaces.in_client_names(event) for event in events]


def _chat_request(reader: Reader, namespaces: Namespaces) -> Body:
    """The chat request of a responses request, or Untranslatable."""
    messages: list[Body] = []
    if instructions := reader.take("instructions"):
        messages.append({"role": "system", "content": instructions})
    messages += _messages(reader, reader.take("input"), namespaces)
    chat: Body = {"model": reader.take("model", ""), "messages": messages, **reader.pass_on(_SAME)}
    if limit := reader.take("max_output_tokens"):
        chat["max_completion_tokens"] = limit
    if tools := reader.take("tools"):
        chat["tools"] = _tools(reader, tools, namespaces, choice=reader.peek("tool_choice"))
    if (choice := reader.take("tool_choice")) is not None:
        chat["tool_choice"] = _tool_choice(reader, choice)
    chat |= _text(reader) | _reasoning(reader)
    reader.allow("store", False)
    reader.allow("background", False)
    reader.allow("truncation", "disabled")
    _include(reader)
    reader.allow("top_logprobs", 0)
    reader.ignore("metadata", "stream_options")  # echoed in the answer; padding
    # whose tool asks, and when OpenAI may shorten what it was sent
    reader.let_go("client_metadata", "context_management")
    reader.done()
    return chat


def _text(reader: Reader) -> Body:
    if (config := reader.take("text")) is None:
        return {}
    inner = reader.inside(config, "text")
    inner.let_go("verbosity", harmless="medium")
    text_format = inner.take("format")
    inner.done()
    if text_format is None:
        return {}
    shape = inner.inside(text_format, "format")
    kind = shape.take("type")
    if kind != "json_schema":
        shape.done()
        return {"response_format": {"type": kind}}
    schema = shape.pass_on(("name", "schema", "strict", "description"))
    shape.done()
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _reasoning(reader: Reader) -> Body:
    if (reasoning := reader.take("reasoning")) is None:
        return {}
    inner = reader.inside(reasoning, "reasoning")
    inner.ignore("summary", "generate_summary")  # all thinking that Anthropic shows is sent as a summary
    effort = inner.take("effort")
    inner.done()
    return {"reasoning_effort": effort} if effort else {}


def _include(reader: Reader) -> None:
    """What else the answer is to have: reasoning stays with its model, the rest belongs to tools of OpenAI's own."""
    include = reader.take("include") or []
    if not isinstance(include, list) or any(one not in _WITHOUT_A_COUNTERPART for one in include):
        raise reader.refusal("include")


def _tools(reader: Reader, tools: Any, namespaces: Namespaces, *, choice: Any) -> list[Body]:
    """The functions, those of namespaces too. A tool of OpenAI's own is let go where there are others to do the work."""
    if not isinstance(tools, list):
        raise reader.refusal("tools")
    chosen = choice.get("type") if isinstance(choice, dict) else None
    translated: list[Body] = []
    hosted: list[tuple[Reader, int, str]] = []
    for index, tool in enumerate(tools):
        inner = reader.inside(tool, "tools", index)
        kind = inner.peek("type")
        if kind == "namespace":
            inner.ignore("type", "description")
            space = inner.take("name")
            for place, function in enumerate(inner.take("tools") or ()):
                translated.append(_tool(inner.inside(function, "tools", place), namespaces, space=space))
            inner.done()
        elif isinstance(kind, str) and kind.startswith(_HOSTED):
            hosted.append((inner, index, kind))
        else:
            translated.append(_tool(inner, namespaces))
    for inner, index, kind in hosted:
        if not translated or chosen == kind:
            raise inner.refusal("type")
        reader.note_let_go(f"tools.{index} ({kind})")
    return translated


def _tool(inner: Reader, namespaces: Namespaces, *, space: Any = None) -> Body:
    if inner.take("type") != "function":
        raise inner.refusal("type")
    function = inner.pass_on(("name", "description", "parameters", "strict"))
    if space is not None:
        function["name"] = namespaces.known_as(space, function.get("name"))
    inner.let_go("defer_loading", harmless=False)
    inner.allow("async", False)
    inner.allow("allowed_callers", ["direct"])
    inner.done()
    return {"type": "function", "function": function}


def _tool_choice(reader: Reader, choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    inner = reader.inside(choice, "tool_choice")
    if inner.take("type") != "function":
        raise inner.refusal("type")
    function = {"name": inner.take("name")}
    inner.done()
    return {"type": "function", "function": function}


def _messages(reader: Reader, given: Any, namespaces: Namespaces) -> list[Body]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise reader.refusal("input")
    messages: list[Body] = []
    for index, item in enumerate(given):
        inner = reader.inside(item, "input", index)
        kind = inner.take("type", "message")
        inner.ignore("id", "status", "phase", *_OF_ITEMS, *SDK_READINGS)
        if kind == "message":
            messages.append(_message(inner))
        elif kind == "function_call":
            _add_call(messages, inner, namespaces)
        elif kind == "function_call_output":
            messages.append(_call_output(inner))
        elif kind == "reasoning":
            continue  # only the model that wrote it can read it
        elif isinstance(kind, str) and kind in _CALLS_OF_HOSTED_TOOLS:
            inner.note_let_go(kind)  # what OpenAI did in an earlier turn; the answer has its result
            continue
        else:
            raise inner.refusal("type")
        inner.done()
    return messages


def _message(inner: Reader) -> Body:
    role = inner.take("role")
    if role not in _ROLES:
        raise inner.refusal("role")
    content = inner.take("content", "")
    if isinstance(content, str):
        return {"role": role, "content": content}
    return {"role": role, "content": _parts(inner, content, "content")}


def _add_call(messages: list[Body], inner: Reader, namespaces: Namespaces) -> None:
    """Calls that follow one another, and the text before them, are one turn of the assistant."""
    name = namespaces.known_as(inner.take("namespace"), inner.take("name"))
    function = {"name": name, "arguments": inner.take("arguments", "{}")}
    call = {"id": inner.take("call_id"), "type": "function", "function": function}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _call_output(inner: Reader) -> Body:
    output = inner.take("output", "")
    content = output if isinstance(output, str) else _parts(inner, output, "output")
    inner.ignore("name")
    return {"role": "tool", "tool_call_id": inner.take("call_id"), "content": content}


def _parts(reader: Reader, parts: Any, name: str) -> list[Body]:
    if not isinstance(parts, list):
        raise reader.refusal(name)
    return [_part(reader.inside(part, name, index)) for index, part in enumerate(parts)]


def _part(part: Reader) -> Body:
    kind = part.take("type")
    if kind in ("input_text", "output_text", "text"):
        part.ignore("annotations", "logprobs", *SDK_READINGS)
        translated: Body = {"type": "text", "text": part.take("text", "")}
    elif kind == "refusal":
        translated = {"type": "refusal", "refusal": part.take("refusal", "")}
    elif kind == "input_image":
        image = {"url": part.take("image_url"), **part.pass_on(("detail",))}
        if not image["url"]:
            raise part.refusal("file_id")
        translated = {"type": "image_url", "image_url": image}
    elif kind == "input_file":
        translated = {"type": "file", "file": part.pass_on(("file_data", "filename"))}
    else:
        raise part.refusal("type")
    part.done()
    return translated
