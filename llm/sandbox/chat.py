"""Owns `/v1/chat/completions` and the legacy `/v1/completions`, plain and streamed.

Invariant: the chunks of a stream add up to the plain answer of the same body.
"""

import hashlib
import math
import time
from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from llm import tokens
from llm.sandbox.answers import pieces_of, reply
from llm.sandbox.catalog import reasoning_tokens_of
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Event, Exchange
from llm.sandbox.prompt import Prompt, Reply, Tool, Turn, image_count, text_of
from llm.sandbox.usage import Usage
from llm.sandbox.validation import model_of, number, strings, whole_number

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
SERVED_TIERS = {"flex": "flex", "priority": "priority", "scale": "scale"}
DONE = b"data: [DONE]\n\n"
CACHE_MINIMUM = 1_024
STREAM_ERROR = b'data: {"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":"server_error"}}\n\n'


async def create_chat(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    body = exchange.body
    model = model_of(exchange)
    prompt = chat_prompt(body, model)
    replies = [
        reply(_variant(prompt, index)) for index in range(whole_number(body, "n", least=1, most=128) or 1)
    ]
    usage = _usage(
        exchange, tokens.count_chat(body, model), replies, {"m": body["messages"], "t": body.get("tools")}
    )
    head = _head(exchange, "chatcmpl-", body)
    if body.get("stream") is not True:
        payload = head | {
            "object": "chat.completion",
            "choices": [_chat_choice(exchange, index, answer, body) for index, answer in enumerate(replies)],
            "usage": usage.chat(),
        }
        return await exchange.answer(payload, usage=usage, tokens=usage.output)
    head["object"] = "chat.completion.chunk"
    return await _stream(exchange, _chat_events(exchange, head, replies, usage), usage, replies)


async def create_completion(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/completions, the legacy one: a prompt or several, answered in order."""
    body = exchange.body
    model = model_of(exchange)
    given = body.get("prompt", "")
    prompts = given if isinstance(given, list) and given and isinstance(given[0], (str, list)) else [given]
    limit = whole_number(body, "max_tokens", least=0)
    replies = [
        reply(
            Prompt(
                model=model,
                turns=(Turn("user", text if isinstance(text, str) else _decoded(text, model)),),
                max_tokens=16 if limit is None else limit,
                stop=strings(body.get("stop"), "stop"),
                variant=variant,
            )
        )
        for text in prompts
        for variant in range(whole_number(body, "n", least=1, most=128) or 1)
    ]
    usage = _usage(exchange, tokens.count_prompt(given, model), replies, {"p": given})
    head = _head(exchange, "cmpl-", body) | {"object": "text_completion"}
    if body.get("stream") is not True:
        choices = [_text_choice(index, answer.text, _finish(answer)) for index, answer in enumerate(replies)]
        return await exchange.answer(
            head | {"choices": choices, "usage": usage.chat()}, usage=usage, tokens=usage.output
        )
    return await _stream(exchange, _text_events(exchange, head, replies, usage), usage, replies)


def chat_prompt(body: dict[str, Any], model: str) -> Prompt:
    """The question a chat body asks; raises 400 for a bad field."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ProviderError(
            400,
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    turns: list[Turn] = []
    system: list[str] = []
    images = 0
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise ProviderError(
                400,
                f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
                param=f"messages[{index}].role",
                code="invalid_value",
            )
        text = text_of(message.get("content"))
        if role in ("system", "developer"):
            system.append(text)
        else:
            turns.append(Turn("tool" if role == "function" else role, text))
            images += image_count(message.get("content"))
    number(body, "temperature", least=0, most=2)
    number(body, "top_p", least=0, most=1)
    schema, wants_json = response_format(body.get("response_format"))
    limit = whole_number(body, "max_completion_tokens", least=1)
    if limit is None:
        limit = whole_number(body, "max_tokens", least=1)
    return Prompt(
        model=model,
        turns=tuple(turns),
        system="\n".join(system),
        tools=tuple(_tools(body)),
        tool_choice=_tool_choice(body),
        is_parallel=body.get("parallel_tool_calls") is not False,
        schema=schema,
        wants_json=wants_json,
        image_count=images,
        max_tokens=limit,
        stop=strings(body.get("stop"), "stop"),
        reasoning_tokens=reasoning_tokens_of(model, body.get("reasoning_effort")),
    )


def response_format(asked: Any) -> tuple[dict[str, Any] | None, bool]:
    """The schema an answer must match, and whether it must be JSON at all."""
    if not isinstance(asked, dict) or asked.get("type") in (None, "text"):
        return None, False
    if asked["type"] == "json_object":
        return None, True
    described = asked.get("json_schema", asked)
    schema = described.get("schema") if isinstance(described, dict) else None
    if asked["type"] != "json_schema" or not isinstance(schema, dict):
        raise ProviderError(
            400, "Invalid value for 'response_format'.", param="response_format", code="invalid_value"
        )
    return schema, True


def function_tools(tools: Any) -> Iterator[Tool]:
    """The functions among an OpenAI `tools` list, in chat's shape or in that of responses."""
    for tool in tools if isinstance(tools, list) else ():
        function = (
            tool.get("function", tool) if isinstance(tool, dict) and tool.get("type") == "function" else None
        )
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            yield Tool(
                function["name"],
                str(function.get("description") or ""),
                schema if isinstance(schema, dict) else {},
            )


def _tools(body: dict[str, Any]) -> Iterator[Tool]:
    yield from function_tools(body.get("tools"))
    legacy = body.get("functions")
    if isinstance(legacy, list):
        yield from function_tools([{"type": "function", "function": function} for function in legacy])


def _tool_choice(body: dict[str, Any]) -> str:
    choice = body.get("tool_choice", body.get("function_call", "auto"))
    if isinstance(choice, dict):
        return str(choice.get("function", choice).get("name") or choice.get("mode") or "required")
    return choice if isinstance(choice, str) else "auto"


def _variant(prompt: Prompt, index: int) -> Prompt:
    return (
        prompt
        if index == 0
        else Prompt(
            **{name: getattr(prompt, name) for name in prompt.__dataclass_fields__ if name != "variant"},
            variant=index,
        )
    )


def _decoded(ids: Any, model: str) -> str:
    try:
        return tokens.encoding_for(model).decode(ids)
    except (TypeError, KeyError, OverflowError) as error:
        raise ProviderError(400, "Invalid tokens in 'prompt'.", param="prompt") from error


def _usage(exchange: Exchange, input_tokens: int, replies: list[Reply], prefix: object) -> Usage:
    cached = 0
    if input_tokens >= CACHE_MINIMUM:
        cached = exchange.sandbox.prompt_cache.use_openai(
            prefix,
            key=exchange.call.key,
            model=exchange.call.model,
            ttl_seconds=exchange.sandbox.settings.cache_ttl_s,
        )
        cached = min(cached, input_tokens - input_tokens % 128)
    return Usage(
        input=input_tokens - cached,
        cache_read=cached,
        output=sum(answer.output_tokens for answer in replies),
        reasoning=sum(answer.reasoning_tokens for answer in replies),
    )


def _head(exchange: Exchange, prefix: str, body: dict[str, Any]) -> dict[str, Any]:
    model = exchange.call.model
    call = exchange.call
    call.upstream_id = exchange.sandbox.ids.openai(prefix)
    call.service_tier = SERVED_TIERS.get(str(body.get("service_tier")), "default")
    return {
        "id": call.upstream_id,
        "object": "",
        "created": int(time.time()),
        "model": model,
        "service_tier": call.service_tier,
        "system_fingerprint": "fp_" + hashlib.blake2b(model.encode(), digest_size=5).hexdigest(),
    }


def _finish(answer: Reply) -> str:
    return "stop" if answer.finish == "stop_sequence" else answer.finish


def _chat_choice(exchange: Exchange, index: int, answer: Reply, body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.tool_calls else answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": exchange.sandbox.ids.openai("call_")[:29],
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.tool_calls
        ]
    logprobs = None
    if body.get("logprobs") is True:
        most = body.get("top_logprobs")
        logprobs = {
            "content": [_logprob(piece, most if isinstance(most, int) else 0) for piece in answer.pieces],
            "refusal": None,
        }
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": _finish(answer)}


def _logprob(piece: str, most: int) -> dict[str, Any]:
    likelihood = -0.01 * (1 + sum(piece.encode()) % 40)
    entry = {"token": piece, "logprob": likelihood, "bytes": list(piece.encode())}
    others = [
        {
            "token": f"{piece}{'.' * rank}",
            "logprob": round(math.log(0.3**rank) + likelihood, 6),
            "bytes": None,
        }
        for rank in range(1, most)
    ]
    return entry | {"top_logprobs": [dict(entry), *others] if most else []}


def _text_choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _wants_usage(exchange: Exchange) -> bool:
    options = exchange.body.get("stream_options")
    return (
        isinstance(options, dict)
        and options.get("include_usage") is True
        and not exchange.has_fault("missing_usage")
    )


def _tail(exchange: Exchange, head: dict[str, Any], usage: Usage) -> Iterator[Event]:
    if _wants_usage(exchange):
        yield b"data: " + orjson.dumps(head | {"choices": [], "usage": usage.chat()}) + b"\n\n", 0
    yield DONE, 0


def _framed(exchange: Exchange, head: dict[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and after the choice in every chunk."""
    before = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
    return before, b'],"usage":null}\n\n' if _wants_usage(exchange) else b"]}\n\n"


def _chat_events(
    exchange: Exchange, head: dict[str, Any], replies: list[Reply], usage: Usage
) -> Iterator[Event]:
    before, after = _framed(exchange, head)

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return before + orjson.dumps(choice) + after

    with_logprobs = exchange.body.get("logprobs") is True
    most = exchange.body.get("top_logprobs")
    for index, answer in enumerate(replies):
        if answer.tool_calls:
            yield from _tool_events(exchange, index, answer, chunk)
        else:
            opening = {"role": "assistant", "content": "", "refusal": None}
            yield chunk(index, opening), answer.reasoning_tokens
            if with_logprobs:
                for piece in answer.pieces:
                    entry = _logprob(piece, most if isinstance(most, int) else 0)
                    choice = {
                        "index": index,
                        "delta": {"content": piece},
                        "logprobs": {"content": [entry], "refusal": None},
                        "finish_reason": None,
                    }
                    yield before + orjson.dumps(choice) + after, 1
            else:
                left = before + b'{"index":%d,"delta":{"content":' % index
                right = b'},"logprobs":null,"finish_reason":null}' + after
                for piece in answer.pieces:
                    yield left + orjson.dumps(piece) + right, 1
        yield chunk(index, {}, _finish(answer)), 0
    yield from _tail(exchange, head, usage)


def _tool_events(exchange: Exchange, index: int, answer: Reply, chunk: Any) -> Iterator[Event]:
    opening: dict[str, Any] = {"role": "assistant", "content": None}
    for position, call in enumerate(answer.tool_calls):
        identifier = exchange.sandbox.ids.openai("call_")[:29]
        function = {"name": call.name, "arguments": ""}
        started = {"index": position, "id": identifier, "type": "function", "function": function}
        yield chunk(index, opening | {"tool_calls": [started]}), 8
        opening = {}
        for piece in pieces_of(call.arguments, exchange.call.model):
            yield chunk(index, {"tool_calls": [{"index": position, "function": {"arguments": piece}}]}), 1


def _text_events(
    exchange: Exchange, head: dict[str, Any], replies: list[Reply], usage: Usage
) -> Iterator[Event]:
    before, after = _framed(exchange, head)
    for index, answer in enumerate(replies):
        for piece in answer.pieces:
            yield before + orjson.dumps(_text_choice(index, piece, None)) + after, 1
        yield before + orjson.dumps(_text_choice(index, "", _finish(answer))) + after, 0
    yield from _tail(exchange, head, usage)


async def _stream(
    exchange: Exchange, events: Iterator[Event], usage: Usage, replies: list[Reply]
) -> web.StreamResponse:
    def bill(produced: int, is_complete: bool) -> None:
        output = usage.output if is_complete else min(usage.output, produced)
        billed = usage.with_output(output)
        exchange.call.bill(billed, billed.chat())

    return await exchange.stream(events, bill=bill, error_event=STREAM_ERROR)
