"""An OpenAI model's chat completions as Anthropic messages, whole and streamed.

Invariant: content blocks follow one another, each started and stopped once; a message that calls a tool says so, with
any finish reason; usage leaves cached tokens out of the input.
"""

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from billing.usage.reading import merged, reported_usage, totals_of
from llm.wire.formats import Body
from llm.wire.openai_chat_stream import message_of
from llm.wire.texts.message_texts import reasoning_of, text_of
from llm.wire.tool_calls import CallQueue, Step, ToolCall
from llm.wire.translation.tool_inputs import input_of

STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def messages_answer(response: Body, *, model: str = "") -> Body:
    """The message of a chat completion's first choice; `model` is what was asked for, if nothing else is known."""
    choice = (response.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    content: list[Body] = []
    if reasoning := reasoning_of(message):
        content.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    if text := text_of(message) or message.get("refusal"):
        content.append({"type": "text", "text": text, "citations": []})
    calls = [_tool_use(call) for call in message.get("tool_calls") or ()]
    reason = stop_reason(choice.get("finish_reason"), calls_tools=bool(calls))
    content += calls
    return {
        "id": _message_id(response),
        "type": "message",
        "role": "assistant",
        "model": str(response.get("model") or model),
        "content": content,
        "stop_reason": "refusal" if message.get("refusal") else reason,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": messages_usage(reported_usage(response)),
    }


def stop_reason(finish: Any, *, calls_tools: bool) -> str:
    """Why a message ended. Servers say `stop`, or nothing, behind a call of a tool, too."""
    reason = STOP_REASONS.get(str(finish or "").lower(), "end_turn")
    return "tool_use" if calls_tools and reason == "end_turn" else reason


def messages_usage(usage: Body) -> Body:
    """Usage in Anthropic's shape, where the input leaves out what was cached."""
    totals = totals_of("openai.chat", usage)
    return {
        "input_tokens": totals.plain_input,
        "cache_creation_input_tokens": totals.cache_write,
        "cache_creation": {"ephemeral_5m_input_tokens": totals.cache_write, "ephemeral_1h_input_tokens": 0},
        "cache_read_input_tokens": totals.cache_read,
        "output_tokens": totals.output,
        "output_tokens_details": {"thinking_tokens": totals.reasoning},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }


class MessagesAnswerStream:
    """Turns chat chunks into the events of a message."""

    def __init__(self, *, model: str = "") -> None:
        self._model = model  # that was asked for
        self._id = ""
        self._has_started = False
        self._blocks = 0  # started so far; the last one is open while `_open` says what it is
        self._open: str | ToolCall | None = None  # "text", "thinking", or a call
        self._calls = CallQueue()
        self._has_called = False
        self._has_spoken = False
        self._finish: Any = None
        self._refused = False
        self._usage: Body = {}

    def feed(self, payload: Body) -> list[Body]:
        self._usage = merged(self._usage, reported_usage(payload))
        events: list[Body] = []
        if not self._has_started:
            self._id = self._id or str(payload.get("id") or "")
            self._model = str(payload.get("model") or self._model)
            if payload.get("choices"):  # a first chunk without a choice has no name either
                events += self._start()
        for choice in payload.get("choices") or ():
            if choice.get("index"):
                continue
            delta = choice.get("delta") or (not self._has_spoken and message_of(choice)) or {}
            events += self._delta(delta)
            self._finish = choice.get("finish_reason") or self._finish
        return events

    def end(self) -> list[Body]:
        events = [] if self._has_started else self._start()
        events += self._finish_calls()
        reason = stop_reason(self._finish, calls_tools=self._has_called)
        delta = {
            "stop_reason": "refusal" if self._refused else reason,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
        }
        usage = messages_usage(self._usage)
        return [
            *events,
            *self._close(),
            {"type": "message_delta", "delta": delta, "usage": usage},
            {"type": "message_stop"},
        ]

    def _start(self) -> list[Body]:
        self._has_started = True
        return [_message_start(self._id, self._model)]

    def _delta(self, delta: Body) -> list[Body]:
        events: list[Body] = []
        if reasoning := reasoning_of(delta):
            events += self._said("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            events.append(self._piece({"type": "thinking_delta", "thinking": reasoning}))
        if text := text_of(delta):
            events += self._text(text)
        if refusal := delta.get("refusal"):
            self._refused = True
            events += self._text(refusal)
        for call in delta.get("tool_calls") or ():
            self._has_spoken = True
            events += self._call_events(self._calls.take(call))
        return events

    def _text(self, text: str) -> list[Body]:
        opened = self._said("text", {"type": "text", "text": "", "citations": []})
        return [*opened, self._piece({"type": "text_delta", "text": text})]

    def _said(self, block: str, start: Body) -> list[Body]:
        """Begin a block of something else than a call: the calls that still wait are sent before it."""
        finished = self._finish_calls() if self._calls else []
        self._has_spoken = True
        self._calls.is_first_sent = True
        return [*finished, *self._switch(block, start)]

    def _call_events(self, steps: Iterable[Step]) -> list[Body]:
        events: list[Body] = []
        for kind, call, piece in steps:
            if kind == "begin":
                self._has_called = True
                events += self._switch(call, _tool_block(call))
            else:
                events.append(self._piece({"type": "input_json_delta", "partial_json": piece}))
        return events

    def _finish_calls(self) -> list[Body]:
        return self._call_events(self._calls.finish())

    def _switch(self, block: str | ToolCall, start: Body) -> list[Body]:
        if self._open == block:
            return []
        closed = self._close()
        self._open = block
        self._blocks += 1
        return [*closed, {"type": "content_block_start", "index": self._blocks - 1, "content_block": start}]

    def _close(self) -> list[Body]:
        if self._open is None:
            return []
        self._open = None
        return [{"type": "content_block_stop", "index": self._blocks - 1}]

    def _piece(self, delta: Body) -> Body:
        return {"type": "content_block_delta", "index": self._blocks - 1, "delta": delta}


def _message_start(identity: str, model: str) -> Body:
    message: Body = {
        "id": identity or f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": messages_usage({}),
    }
    return {"type": "message_start", "message": message}


def _message_id(completion: Body) -> str:
    return str(completion.get("id") or f"msg_{uuid4().hex}")


def _tool_block(call: ToolCall) -> Body:
    return {
        "type": "tool_use",
        "id": call.id or f"toolu_{uuid4().hex}",
        "name": call.name,
        "input": {},
        "caller": {"type": "direct"},
    }


def _tool_use(call: Body) -> Body:
    function = call.get("function") or {}
    return {
        "type": "tool_use",
        "id": str(call.get("id") or f"toolu_{uuid4().hex}"),
        "name": function.get("name"),
        "input": input_of(function.get("arguments")),
        "caller": {"type": "direct"},
    }
