"""Owns `/v1/chat/completions`, plain and streamed.

Invariant: the chunks of a stream add up to the plain answer of the same body.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.catalog import offer_of
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Event, Exchange
from llm.sandbox.openai.bodies import chat_prompts
from llm.sandbox.prompt import Reply
from llm.sandbox.prompt_cache import OPENAI_MINIMUM, OPENAI_STEP
from llm.sandbox.replies.answers import TOKENS_PER_TOOL_CALL, pieces_of, reply
from llm.sandbox.usage import Usage
from llm.sandbox.validation import check_context, check_room, model_of
from llm.tokens import counting

SERVED_TIERS = ("flex", "priority", "scale")
DONE = b"data: [DONE]\n\n"
STREAM_ERROR = b"data: " + orjson.dumps(ProviderError(500).body("openai", "")) + b"\n\n"


async def create_chat(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    body = exchange.body
    model = model_of(exchange)
    prompts = chat_prompts(body, model)
    input_tokens = counting.count_chat(body, model)
    check_context(exchange, input_tokens)
    check_room(exchange, input_tokens)
    replies = [reply(exchange.sandbox.knowing(prompt)) for prompt in prompts]
    usage = usage_of(exchange, input_tokens, replies, {"m": body["messages"], "t": body.get("tools")})
    if body.get("stream") is not True:
        payload = head_of(exchange, "chatcmpl-", "chat.completion") | {
            "choices": [_choice(exchange, index, answer) for index, answer in enumerate(replies)],
            "usage": usage.chat(),
        }
        return await exchange.answer(payload, usage=usage, tokens=usage.output)
    head = head_of(exchange, "chatcmpl-", "chat.completion.chunk")
    return await send_stream(exchange, _events(exchange, head, replies, usage), usage)


def usage_of(exchange: Exchange, input_tokens: int, replies: list[Reply], prefix: object) -> Usage:
    """What the call is billed, with the part of a long prompt that the automatic cache knows."""
    cached = 0
    if input_tokens >= OPENAI_MINIMUM and offer_of(exchange.call.model).has_prompt_cache:
        cached = exchange.sandbox.prompt_cache.use_openai(
            prefix,
            key=exchange.call.key,
            model=exchange.call.model,
            ttl_seconds=exchange.sandbox.settings.cache_ttl_s,
        )
        cached = min(cached, input_tokens - input_tokens % OPENAI_STEP)
    return Usage(
        input=input_tokens - cached,
        cache_read=cached,
        output=sum(answer.output_tokens for answer in replies),
        reasoning=sum(answer.reasoning_tokens for answer in replies),
    )


def head_of(exchange: Exchange, prefix: str, object_name: str) -> dict[str, Any]:
    """What every answer and every chunk of it begins with."""
    call = exchange.call
    asked = exchange.body.get("service_tier")
    call.upstream_id = exchange.sandbox.ids.openai(prefix)
    call.service_tier = asked if asked in SERVED_TIERS else "default"
    return {
        "id": call.upstream_id,
        "object": object_name,
        "created": int(time.time()),
        "model": call.model,
        "service_tier": call.service_tier,
        "system_fingerprint": "fp_" + hashlib.blake2b(call.model.encode(), digest_size=5).hexdigest(),
    }


def finish_of(answer: Reply) -> str:
    """OpenAI's word for why the answer ended."""
    return "stop" if answer.finish == "stop_sequence" else answer.finish


def framed(exchange: Exchange, head: dict[str, Any]) -> tuple[bytes, bytes]:
    """What is before and after the choice in every chunk."""
    before = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
    return before, b'],"usage":null}\n\n' if _wants_usage(exchange) else b"]}\n\n"


def tail(exchange: Exchange, head: dict[str, Any], usage: Usage) -> Iterator[Event]:
    """The end of a stream: the usage if it was asked for, and [DONE]."""
    if _wants_usage(exchange):
        yield b"data: " + orjson.dumps(head | {"choices": [], "usage": usage.chat()}) + b"\n\n", 0
    yield DONE, 0


async def send_stream(exchange: Exchange, events: Iterator[Event], usage: Usage) -> web.StreamResponse:
    """Send a stream and bill what of it was produced."""

    def bill(produced: int, is_complete: bool) -> None:
        billed = usage if is_complete else usage.with_output(min(usage.output, produced))
        exchange.call.bill(billed, billed.chat())

    return await exchange.stream(events, bill=bill, error_event=STREAM_ERROR)


def _wants_usage(exchange: Exchange) -> bool:
    options = exchange.body.get("stream_options")
    is_asked = isinstance(options, dict) and options.get("include_usage") is True
    return is_asked and not exchange.has_fault("missing_usage")


def _choice(exchange: Exchange, index: int, answer: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.tool_calls else answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": exchange.sandbox.ids.openai("call_"),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.tool_calls
        ]
    logprobs = None
    if _wants_logprobs(exchange):
        content = [_logprob(piece, exchange) for piece in answer.pieces]
        logprobs = {"content": content, "refusal": None}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_of(answer)}


def _wants_logprobs(exchange: Exchange) -> bool:
    return exchange.body.get("logprobs") is True


def _logprob(piece: str, exchange: Exchange) -> dict[str, Any]:
    asked = exchange.body.get("top_logprobs")
    most = asked if isinstance(asked, int) else 0
    likelihood = -0.01 * (1 + sum(piece.encode()) % 40)
    entry = {"token": piece, "logprob": likelihood, "bytes": list(piece.encode())}
    others = [
        {"token": piece + "." * rank, "logprob": round(rank * math.log(0.3) + likelihood, 6), "bytes": None}
        for rank in range(1, most)
    ]
    return entry | {"top_logprobs": [dict(entry), *others] if most else []}


def _events(exchange: Exchange, head: dict[str, Any], replies: list[Reply], usage: Usage) -> Iterator[Event]:
    before, after = framed(exchange, head)

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return before + orjson.dumps(choice) + after

    for index, answer in enumerate(replies):
        if answer.tool_calls:
            yield from _tool_events(exchange, index, answer, chunk)
        else:
            yield chunk(index, {"role": "assistant", "content": "", "refusal": None}), answer.reasoning_tokens
            yield from _text_events(exchange, index, answer, before, after)
        yield chunk(index, {}, finish_of(answer)), 0
    yield from tail(exchange, head, usage)


def _text_events(
    exchange: Exchange, index: int, answer: Reply, before: bytes, after: bytes
) -> Iterator[Event]:
    left = before + b'{"index":%d,"delta":{"content":' % index
    if not _wants_logprobs(exchange):
        right = b'},"logprobs":null,"finish_reason":null}' + after
        for piece in answer.pieces:
            yield left + orjson.dumps(piece) + right, 1
        return
    for piece in answer.pieces:
        logprobs = orjson.dumps({"content": [_logprob(piece, exchange)], "refusal": None})
        yield left + orjson.dumps(piece) + b'},"logprobs":' + logprobs + b',"finish_reason":null}' + after, 1


def _tool_events(
    exchange: Exchange, index: int, answer: Reply, chunk: Callable[[int, dict[str, Any]], bytes]
) -> Iterator[Event]:
    opening: dict[str, Any] = {"role": "assistant", "content": None}
    for position, call in enumerate(answer.tool_calls):
        function = {"name": call.name, "arguments": ""}
        identifier = exchange.sandbox.ids.openai("call_")
        started = {"index": position, "id": identifier, "type": "function", "function": function}
        yield chunk(index, opening | {"tool_calls": [started]}), TOKENS_PER_TOOL_CALL
        opening = {}
        for piece in pieces_of(call.arguments, exchange.call.model):
            continued = {"index": position, "function": {"arguments": piece}}
            yield chunk(index, {"tool_calls": [continued]}), 1
