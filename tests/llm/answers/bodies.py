"""Answers as a provider of either kind gives them, to be made odd by a test."""

from typing import Any

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
CLAUDE_USAGE = {"input_tokens": 100, "output_tokens": 10}


def chat(message: dict[str, Any] | None = None, *, finish: str = "stop", **fields: Any) -> dict[str, Any]:
    """A chat completion that said hi."""
    told = {"role": "assistant", **(message or {"content": "Hi."})}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fake",
        "choices": [{"index": 0, "message": told, "finish_reason": finish}],
        "usage": USAGE,
        **fields,
    }


def chunk(
    delta: dict[str, Any] | None = None, *, finish: str | None = None, index: int = 0, **fields: Any
) -> dict[str, Any]:
    """A chunk of a chat stream."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "fake",
        "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}],
        **fields,
    }


def chunks(*deltas: dict[str, Any], finish: str = "stop") -> list[dict[str, Any]]:
    """A chat stream of these deltas, its end, and its usage."""
    return [
        *(chunk(delta) for delta in deltas),
        chunk(finish=finish),
        {**chunk(), "choices": [], "usage": USAGE},
    ]


def message(*content: dict[str, Any], stop: str = "end_turn", **fields: Any) -> dict[str, Any]:
    """A message of Anthropic's that said hi."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": list(content) or [{"type": "text", "text": "Hi."}],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": CLAUDE_USAGE,
        **fields,
    }


def message_events(*between: dict[str, Any], stop: str = "end_turn") -> list[dict[str, Any]]:
    """A message's stream with these events between its start and its end."""
    start = {
        **message(),
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 100, "output_tokens": 1},
    }
    return [
        {"type": "message_start", "message": start},
        *between,
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ]


def response(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A response that said hi."""
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Hi.", "annotations": []}],
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "model": "fake",
        "error": None,
        "incomplete_details": None,
        "output": list(output) or [said],
        "usage": {
            "input_tokens": 100,
            "output_tokens": 10,
            "total_tokens": 110,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
        **fields,
    }
