"""Owns Anthropic's `/v1/messages` and `/v1/messages/count_tokens`.

Invariant: the events of a stream add up to the plain message of the same body, and `input_tokens` excludes
what the prompt cache read and wrote.
"""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.anthropic.bodies import check_messages, message_prompt, prefix_blocks
from llm.sandbox.anthropic.rules import check_turns
from llm.sandbox.exchange import Event, Exchange
from llm.sandbox.prompt import Reply
from llm.sandbox.replies.answers import TOKENS_PER_TOOL_CALL, pieces_of, reply
from llm.sandbox.usage import Usage
from llm.sandbox.validation import check_context, check_room, model_of
from llm.tokens import counting

FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
}
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STREAM_ERROR = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
)


async def create_message(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/messages."""
    body = exchange.body
    model = model_of(exchange)
    prompt = message_prompt(body, model)
    total = counting.count_messages(body, model)
    check_context(exchange, total)
    check_room(exchange, total)
    answer = reply(exchange.sandbox.knowing(prompt))
    usage = _usage(exchange, total, answer)
    head = _head(exchange, usage)
    if body.get("stream") is not True:
        payload = head | {
            "content": _content(exchange, answer),
            "stop_reason": FINISHES[answer.finish],
            "stop_sequence": answer.stop_sequence,
            "usage": usage.messages(),
        }
        return await exchange.answer(payload, usage=usage, tokens=usage.output)

    def bill(produced: int, is_complete: bool) -> None:
        output = usage.output if is_complete else min(usage.output, counting.billed_tokens(produced, model))
        billed = usage.with_output(output)
        exchange.call.bill(billed, billed.messages())

    events = _events(exchange, head, answer, usage)
    return await exchange.stream(events, bill=bill, error_event=STREAM_ERROR)


async def count_tokens(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/messages/count_tokens."""
    model = model_of(exchange)
    check_messages(exchange.body)
    check_turns(exchange.body)
    return await exchange.answer({"input_tokens": counting.count_messages(exchange.body, model)})


def _head(exchange: Exchange, usage: Usage) -> dict[str, Any]:
    """The message before its first word."""
    call = exchange.call
    call.upstream_id = exchange.sandbox.ids.anthropic("msg_")
    call.service_tier = "standard"
    return {
        "id": call.upstream_id,
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "context_management": None,
        "usage": usage.with_output(1).messages(),
    }


def _usage(exchange: Exchange, total: int, answer: Reply) -> Usage:
    body, model = exchange.body, exchange.call.model
    read = written_5m = written_1h = 0
    if b'"cache_control"' in exchange.raw:
        use = exchange.sandbox.prompt_cache.use_anthropic(
            prefix_blocks(body, model, total), key=exchange.call.key, model=model
        )
        read, written_5m, written_1h = use.read, use.written_5m, use.written_1h
    return Usage(
        input=total - read - written_5m - written_1h,
        cache_read=read,
        cache_write_5m=written_5m,
        cache_write_1h=written_1h,
        output=answer.output_tokens,
        reasoning=answer.reasoning_tokens,
    )


def _signature(answer: Reply) -> str:
    return base64.b64encode(hashlib.sha256(answer.reasoning.encode()).digest() * 3).decode()


def _content(exchange: Exchange, answer: Reply) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": _signature(answer)})
    if answer.text:
        content.append({"type": "text", "text": answer.text, "citations": []})
    for call in answer.tool_calls:
        content.append(
            {
                "type": "tool_use",
                "id": exchange.sandbox.ids.anthropic("toolu_"),
                "name": call.name,
                "input": _parsed(call.arguments),
                "caller": {"type": "direct"},
            }
        )
    return content


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}  # cut off by max_tokens


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name} | data))


def _events(exchange: Exchange, head: dict[str, Any], answer: Reply, usage: Usage) -> Iterator[Event]:
    if exchange.has_fault("missing_usage"):
        head = head | {"usage": {"input_tokens": 0, "output_tokens": 0}}
    yield _event("message_start", {"message": head}), 0
    index = 0
    if answer.reasoning:
        yield _start(index, {"type": "thinking", "thinking": "", "signature": ""}), 0
        yield from _thinking(index, answer, exchange.call.model)
        yield _event("content_block_stop", {"index": index}), 0
        index += 1
    if answer.text or not answer.tool_calls:
        yield _start(index, {"type": "text", "text": ""}), 0
        yield PING, 0
        left = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d' % index
        left += b',"delta":{"type":"text_delta","text":'
        for piece in answer.pieces:
            yield left + orjson.dumps(piece) + b"}}\n\n", 1
        yield _event("content_block_stop", {"index": index}), 0
        index += 1
    for call in answer.tool_calls:
        identifier = exchange.sandbox.ids.anthropic("toolu_")
        yield (
            _start(index, {"type": "tool_use", "id": identifier, "name": call.name, "input": {}}),
            TOKENS_PER_TOOL_CALL,
        )
        for piece in ("", *pieces_of(call.arguments, exchange.call.model)):
            delta = {"type": "input_json_delta", "partial_json": piece}
            yield _event("content_block_delta", {"index": index, "delta": delta}), 1 if piece else 0
        yield _event("content_block_stop", {"index": index}), 0
        index += 1
    ending = {"stop_reason": FINISHES[answer.finish], "stop_sequence": answer.stop_sequence}
    yield _event("message_delta", {"delta": ending, "usage": _final_usage(exchange, usage)}), 0
    yield _event("message_stop", {}), 0


def _start(index: int, block: dict[str, Any]) -> bytes:
    return _event("content_block_start", {"index": index, "content_block": block})


def _thinking(index: int, answer: Reply, model: str) -> Iterator[Event]:
    pieces = pieces_of(answer.reasoning, model)
    for position, piece in enumerate(pieces):
        delta = {"type": "thinking_delta", "thinking": piece}
        # thinking is summarised: what is shown is shorter than what is billed
        billed = answer.reasoning_tokens - len(pieces) + 1 if position == len(pieces) - 1 else 1
        yield _event("content_block_delta", {"index": index, "delta": delta}), max(0, billed)
    delta = {"type": "signature_delta", "signature": _signature(answer)}
    yield _event("content_block_delta", {"index": index, "delta": delta}), 0


def _final_usage(exchange: Exchange, usage: Usage) -> dict[str, Any]:
    if exchange.has_fault("missing_usage"):
        return {"output_tokens": 0}
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "server_tool_use": None,
    }
