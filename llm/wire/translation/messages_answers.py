"""An Anthropic model's answers as chat completions, whole and streamed.

Invariant: an answer translated whole and the same answer translated as a stream tell the client the same.
"""

import time
from typing import Any, Final

import orjson

from billing.usage import count_of, merged, reasoning_tokens, told_in
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


def chat_answer(response: Body) -> Body:
    """The chat completion of a message."""
    blocks = response.get("content") or []
    text = "".join(block.get("text", "") for block in blocks if block.get("type") == "text")
    message: Body = {"role": "assistant", "content": text, "refusal": None}
    if calls := [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]:
        message["content"] = text or None
        message["tool_calls"] = calls
    if thinking := [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]:
        message["reasoning_content"] = "".join(block.get("thinking", "") for block in thinking)
        message["thinking_blocks"] = thinking
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": FINISH_REASONS.get(response.get("stop_reason") or "", "stop"),
    }
    return {
        "id": chat_id(response),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": response.get("model", ""),
        "choices": [choice],
        "usage": chat_usage(told_in(response)),
    }


def chat_id(message: Body) -> str:
    """A chat completion's id that tells which message it was."""
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
        self._calls: dict[int, int] = {}  # content block -> tool call
        self._has_arguments: set[int] = set()
        self._thinking: dict[int, Body] = {}

    def feed(self, payload: Body) -> list[Body]:
        kind = payload.get("type")
        self._usage = merged(self._usage, told_in(payload))
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
                "model": message.get("model", ""),
            }
            return [self._chunk({"role": "assistant", "content": "", "refusal": None})]
        if kind == "message_delta":
            reason = (payload.get("delta") or {}).get("stop_reason")
            return [self._chunk({}, finish_reason=FINISH_REASONS.get(reason, "stop"))] if reason else []
        return []

    def end(self) -> list[Body]:
        return [{**self._envelope, "choices": [], "usage": chat_usage(self._usage)}]

    def _start(self, index: int, block: Body) -> list[Body]:
        kind = block.get("type")
        if kind == "tool_use":
            number = self._calls[index] = len(self._calls)
            function = {"name": block.get("name"), "arguments": ""}
            return [
                self._tool_chunk(
                    {"index": number, "id": block.get("id"), "type": "function", "function": function}
                )
            ]
        if kind in ("thinking", "redacted_thinking"):
            self._thinking[index] = {**block}
        if kind == "text" and block.get("text"):
            return [self._chunk({"content": block["text"]})]
        return []

    def _delta(self, index: int, delta: Body) -> list[Body]:
        kind = delta.get("type")
        if kind == "text_delta":
            return [self._chunk({"content": delta["text"]})]
        if kind == "input_json_delta" and index in self._calls:
            if not delta["partial_json"]:
                return []
            self._has_arguments.add(index)
            return [self._arguments(index, delta["partial_json"])]
        if kind == "thinking_delta":
            block = self._thinking.setdefault(index, {"type": "thinking", "thinking": ""})
            block["thinking"] = block.get("thinking", "") + delta["thinking"]
            return [self._chunk({"reasoning_content": delta["thinking"]})]
        if kind == "signature_delta" and index in self._thinking:
            self._thinking[index]["signature"] = delta["signature"]
        return []

    def _stop(self, index: int) -> list[Body]:
        if index in self._calls and index not in self._has_arguments:
            return [self._arguments(index, "{}")]
        if index in self._thinking:
            return [self._chunk({"thinking_blocks": [self._thinking[index]]})]
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
