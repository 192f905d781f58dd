"""An Anthropic model's answers as chat completions, whole and streamed.

Invariant: an answer translated whole and the same answer translated as a stream give the client the same.
"""

import time
from typing import Any, Final

import orjson

from billing.usage.reading import count_of, merged, reasoning_tokens, reported_usage
from llm.wire.formats import Body

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_of(reason: Any, *, calls_tools: bool) -> str:
    """Why a choice ended. Servers say `end_turn`, or nothing, behind a call of a tool, too."""
    finish = FINISH_REASONS.get(str(reason or ""), "stop")
    return "tool_calls" if calls_tools and finish == "stop" else finish


def chat_answer(response: Body) -> Body:
    """The chat completion of a message."""
    blocks = response.get("content") or []
    text = "".join(block.get("text") or "" for block in blocks if block.get("type") == "text")
    message: Body = {"role": "assistant", "content": text, "refusal": None}
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    if calls:
        message["content"] = text or None
        message["tool_calls"] = calls
    if thinking := [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]:
        message["reasoning_content"] = "".join(block.get("thinking") or "" for block in thinking)
        message["thinking_blocks"] = thinking
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_of(response.get("stop_reason"), calls_tools=bool(calls)),
    }
    return {
        "id": chat_id(response),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": response.get("model", ""),
        "choices": [choice],
        "usage": chat_usage(reported_usage(response)),
    }


def chat_id(message: Body) -> str:
    """A chat completion's id that contains the message's."""
    return f"chatcmpl-{message.get('id', '')}"


def chat_usage(usage: Body) -> Body:
    """Usage in OpenAI's shape, where the prompt includes what was cached."""
    names = ("cache_read_input_tokens", "cache_creation_input_tokens", "input_tokens", "output_tokens")
    read, written, plain, completion = (count_of(usage.get(name)) or 0 for name in names)
    prompt, thinking = plain + read + written, reasoning_tokens(usage)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thinking,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class ChatAnswerStream:
    """Turns the events of a message into chat chunks."""

    def __init__(self) -> None:
        self._envelope: Body = {}
        self._usage: Body = {}
        self._number_of_calls = 0
        self._calls: dict[int, int] = {}  # content block that is open -> tool call
        self._inputs: dict[int, Any] = {}  # of blocks that began with all of it, and got no piece yet
        self._thinking: dict[int, Body] = {}
        self._has_finished = False

    def feed(self, payload: Body) -> list[Body]:
        kind = payload.get("type")
        self._usage = merged(self._usage, reported_usage(payload))
        if kind == "content_block_delta":
            return self._delta(payload["index"], payload["delta"])
        if kind == "content_block_start":
            return self._start(payload["index"], payload["content_block"])
        if kind == "content_block_stop":
            return self._stop(payload["index"])
        if kind == "message_start":
            message = payload["message"]
            self._envelope = {
                "id": chat_id(message),
                "object": "chat.completion.chunk",
                "created": int(time.time()),
                "model": message.get("model") or "",
            }
            return [self._chunk({"role": "assistant", "content": "", "refusal": None})]
        if kind == "message_delta":
            reason = (payload.get("delta") or {}).get("stop_reason")
            return self._finish(reason) if reason else []
        return []

    def end(self) -> list[Body]:
        finish = [] if self._has_finished else self._finish(None)
        return [*finish, {**self._envelope, "choices": [], "usage": chat_usage(self._usage)}]

    def _finish(self, reason: Any) -> list[Body]:
        # that were never stopped
        left = [chunk for index in list(self._calls) for chunk in self._stop(index)]
        self._has_finished = True
        finish = finish_of(reason, calls_tools=self._number_of_calls > 0)
        return [*left, self._chunk({}, finish_reason=finish)]

    def _start(self, index: int, block: Body) -> list[Body]:
        kind = block.get("type")
        left = self._stop(index)  # one that was never stopped: another begins in its place
        if kind == "tool_use":
            number = self._calls[index] = self._number_of_calls
            self._number_of_calls += 1
            self._inputs[index] = block.get("input") or {}
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": number, "id": block.get("id"), "type": "function", "function": function}
            return [*left, self._tool_chunk(call)]
        if kind in ("thinking", "redacted_thinking"):
            self._thinking[index] = {**block}
            begun = block.get("thinking")
            return [*left, self._chunk({"reasoning_content": begun})] if begun else left
        if kind == "text" and block.get("text"):
            return [*left, self._chunk({"content": block["text"]})]
        return left

    def _delta(self, index: int, delta: Body) -> list[Body]:
        kind = delta.get("type")
        if kind == "text_delta":
            return [self._chunk({"content": delta.get("text") or ""})]
        if kind == "input_json_delta" and index in self._calls:
            if not (piece := delta.get("partial_json")):
                return []
            self._inputs.pop(index, None)
            return [self._arguments(index, piece)]
        if kind == "thinking_delta":
            thought = delta.get("thinking") or ""
            block = self._thinking.setdefault(index, {"type": "thinking", "thinking": ""})
            block["thinking"] = (block.get("thinking") or "") + thought
            return [self._chunk({"reasoning_content": thought})]
        if kind == "signature_delta" and index in self._thinking:
            self._thinking[index]["signature"] = delta.get("signature")
        return []

    def _stop(self, index: int) -> list[Body]:
        if index in self._calls:
            given = self._inputs.pop(index, None)
            chunks = [] if given is None else [self._arguments(index, orjson.dumps(given).decode())]
            del self._calls[index]
            return chunks
        if index in self._thinking:
            return [self._chunk({"thinking_blocks": [self._thinking.pop(index)]})]
        return []

    def _arguments(self, index: int, piece: str) -> Body:
        return self._tool_chunk({"index": self._calls[index], "function": {"arguments": piece}})

    def _tool_chunk(self, call: Body) -> Body:
        return self._chunk({"tool_calls": [call]})

    def _chunk(self, delta: Body, *, finish_reason: str | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._envelope, "choices": [choice]}


def _tool_call(block: Body) -> Body:
    arguments: Any = orjson.dumps(block.get("input") or {}).decode()
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }
