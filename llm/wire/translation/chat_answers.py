"""An OpenAI model's chat completions as Anthropic messages, whole and streamed.

Invariant: content blocks follow one another, each started and stopped once; usage leaves cached tokens out
of the input.
"""

from typing import Any, Final

import orjson

from billing.usage import merged, told_in, totals_of
from llm.wire.formats import Body

STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def messages_answer(response: Body) -> Body:
    """The message of a chat completion's first choice."""
    choice = (response.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    content: list[Body] = []
    if reasoning := message.get("reasoning_content"):
        content.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    if text := message.get("content") or message.get("refusal"):
        content.append({"type": "text", "text": text, "citations": []})
    content += [_tool_use(call) for call in message.get("tool_calls") or ()]
    reason = STOP_REASONS.get(choice.get("finish_reason") or "", "end_turn")
    return {
        "id": response.get("id", ""),
        "type": "message",
        "role": "assistant",
        "model": response.get("model", ""),
        "content": content,
        "stop_reason": "refusal" if message.get("refusal") else reason,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": messages_usage(told_in(response)),
    }


def messages_usage(usage: Body) -> Body:
    """Usage in Anthropic's shape, where the input leaves out what was cached."""
    told = totals_of("openai.chat", usage)
    return {
        "input_tokens": told.plain_input,
        "cache_creation_input_tokens": told.cache_write,
        "cache_creation": {"ephemeral_5m_input_tokens": told.cache_write, "ephemeral_1h_input_tokens": 0},
        "cache_read_input_tokens": told.cache_read,
        "output_tokens": told.output,
        "output_tokens_details": {"thinking_tokens": told.reasoning},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }


class MessagesAnswerStream:
    """Turns chat chunks into the events of a message."""

    def __init__(self) -> None:
        self._has_started = False
        self._blocks = 0  # started so far; the last one is open while `_open` names it
        self._open: str | int | None = None  # "text", "thinking", or the index of a tool call
        self._told_calls: set[int] = set()
        self._stop_reason: str | None = None
        self._refused = False
        self._usage: Body = {}

    def feed(self, payload: Body) -> list[Body]:
        events: list[Body] = []
        self._usage = merged(self._usage, told_in(payload))
        if not self._has_started:
            self._has_started = True
            events.append(_message_start(payload))
        for choice in payload.get("choices") or ():
            if choice.get("index"):
                continue
            events += self._delta(choice.get("delta") or {})
            if choice.get("finish_reason"):
                self._stop_reason = STOP_REASONS.get(choice["finish_reason"], "end_turn")
        return events

    def end(self) -> list[Body]:
        usage = messages_usage(self._usage)
        reason = "refusal" if self._refused else self._stop_reason
        return [
            *self._close(),
            {
                "type": "message_delta",
                "delta": {
                    "stop_reason": reason,
                    "stop_sequence": None,
                    "stop_details": None,
                    "container": None,
                },
                "usage": usage,
            },
            {"type": "message_stop"},
        ]

    def _delta(self, delta: Body) -> list[Body]:
        events: list[Body] = []
        if reasoning := delta.get("reasoning_content"):
            events += self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            events.append(self._piece({"type": "thinking_delta", "thinking": reasoning}))
        if text := delta.get("content"):
            events += self._text(text)
        if refusal := delta.get("refusal"):
            self._refused = True
            events += self._text(refusal)
        for call in delta.get("tool_calls") or ():
            events += self._call(call)
        return events

    def _text(self, text: str) -> list[Body]:
        opened = self._switch("text", {"type": "text", "text": "", "citations": []})
        return [*opened, self._piece({"type": "text_delta", "text": text})]

    def _call(self, call: Body) -> list[Body]:
        index = call.get("index") or 0
        function = call.get("function") or {}
        events = []
        if self._open != index:
            if index in self._told_calls:
                raise ValueError("pieces of two tool calls are mixed")
            self._told_calls.add(index)
            start: Body = {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function.get("name"),
                "input": {},
                "caller": {"type": "direct"},
            }
            events += self._switch(index, start)
        if arguments := function.get("arguments"):
            events.append(self._piece({"type": "input_json_delta", "partial_json": arguments}))
        return events

    def _switch(self, block: str | int, start: Body) -> list[Body]:
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


def _message_start(payload: Body) -> Body:
    message = {
        "id": payload.get("id", ""),
        "type": "message",
        "role": "assistant",
        "model": payload.get("model", ""),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": messages_usage({}),
    }
    return {"type": "message_start", "message": message}


def _tool_use(call: Body) -> Body:
    function = call.get("function") or {}
    return {
        "type": "tool_use",
        "id": call.get("id"),
        "name": function.get("name"),
        "input": _input(function.get("arguments") or "{}"),
        "caller": {"type": "direct"},
    }


def _input(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}  # cut off by the token limit: the stop reason says so
