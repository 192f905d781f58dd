"""Owns OpenAI's `/v1/responses`: create, plain and streamed, retrieve, list input, cancel, delete.

Invariant: the events of a stream are numbered without gaps and its last one carries the plain response.
"""

import time
from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.catalog import reasoning_tokens_of
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Event, Exchange
from llm.sandbox.openai.bodies import function_tools, response_format, tool_choice
from llm.sandbox.openai.chat import SERVED_TIERS, usage_of
from llm.sandbox.openai.rules import LEAST_OUTPUT_TOKENS, check_response_rules
from llm.sandbox.prompt import Prompt, Reply, Turn, image_count, text_of
from llm.sandbox.replies.answers import TOKENS_PER_TOOL_CALL, pieces_of, reply
from llm.sandbox.state import STORED_CAPACITY
from llm.sandbox.validation import check_context, model_of, number, whole_number
from llm.tokens import counting

DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "user": None,
    "metadata": {},
    "store": True,
    "background": False,
}
STREAM_ERROR = {"type": "error", "code": "server_error", "message": "The server had an error.", "param": None}


async def create_response(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/responses."""
    body = exchange.body
    model = model_of(exchange)
    items = _conversation(exchange)
    prompt = _prompt(body, model, items)
    check_response_rules(body, items)
    input_tokens = counting.count_responses({**body, "input": items}, model)
    check_context(exchange, input_tokens)
    answer = reply(exchange.sandbox.knowing(prompt))
    usage = usage_of(exchange, input_tokens, [answer], {"i": items, "t": body.get("tools")})
    head = _head(exchange)
    output = list(_output(exchange, answer))
    final = head | _ending(answer) | {"output": output, "usage": usage.responses()}
    if body.get("store") is not False:
        _store(exchange, final, items)
    if body.get("stream") is not True:
        return await exchange.answer(final, usage=usage, tokens=usage.output)
    if exchange.has_fault("missing_usage"):
        final = final | {"usage": None}

    def bill(produced: int, is_complete: bool) -> None:
        billed = usage if is_complete else usage.with_output(min(usage.output, produced))
        exchange.call.bill(billed, billed.responses())

    events = _numbered(_events(exchange, head, final, answer))
    error_event = b"event: error\ndata: " + orjson.dumps(STREAM_ERROR | {"sequence_number": 0}) + b"\n\n"
    return await exchange.stream(events, bill=bill, error_event=error_event)


async def retrieve_response(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/responses/{id}."""
    return await exchange.answer(_stored(exchange)[0])


async def list_input_items(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/responses/{id}/input_items, newest first as OpenAI does."""
    items = [
        {"id": f"msg_{index}", "status": "completed", "type": "message"} | item
        for index, item in enumerate(_stored(exchange)[1])
    ]
    for item in items:
        if isinstance(item.get("content"), str):
            item["content"] = [{"type": "input_text", "text": item["content"]}]
    items.reverse()
    edges = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
    return await exchange.answer({"object": "list", "data": items, "has_more": False} | edges)


async def cancel_response(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/responses/{id}/cancel: ours are done immediately, so it changes nothing."""
    return await exchange.answer(_stored(exchange)[0])


async def delete_response(exchange: Exchange) -> web.StreamResponse:
    """DELETE /v1/responses/{id}."""
    payload, _ = _stored(exchange)
    del exchange.sandbox.responses[payload["id"]]
    return await exchange.answer({"id": payload["id"], "object": "response.deleted", "deleted": True})


async def count_input_tokens(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/responses/input_tokens."""
    items = _conversation(exchange)
    model = exchange.call.model or "gpt-4o"
    counted = counting.count_responses({**exchange.body, "input": items}, model)
    return await exchange.answer({"object": "response.input_tokens", "input_tokens": counted})


def _conversation(exchange: Exchange) -> list[dict[str, Any]]:
    """The input as items, after those of the response it continues."""
    given = exchange.body.get("input", "")
    if isinstance(given, str):
        items: list[Any] = [{"type": "message", "role": "user", "content": given}]
    elif isinstance(given, list) and all(isinstance(item, dict) for item in given):
        items = given
    else:
        raise ProviderError(400, "Invalid type for 'input'.", param="input", code="invalid_type")
    previous_id = exchange.body.get("previous_response_id")
    if previous_id is None:
        return items
    stored = exchange.sandbox.responses.get(previous_id)
    if stored is None or stored[2] != exchange.call.key:
        raise ProviderError(
            400,
            f"Previous response with id '{previous_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return [*stored[1], *stored[0]["output"], *items]


def _prompt(body: dict[str, Any], model: str, items: list[dict[str, Any]]) -> Prompt:
    system = [text_of(body.get("instructions"))]
    turns: list[Turn] = []
    images = 0
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            turns.append(Turn("tool", text_of(item.get("output"))))
        elif kind == "message":
            text = text_of(item.get("content"))
            if item.get("role") in ("system", "developer"):
                system.append(text)
            else:
                turns.append(Turn(str(item.get("role") or "user"), text))
                images += image_count(item.get("content"))
    number(body, "temperature", least=0, most=2)
    text_options = body.get("text")
    schema, wants_json = response_format(
        text_options.get("format") if isinstance(text_options, dict) else None
    )
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return Prompt(
        model=model,
        turns=tuple(turns),
        system="\n".join(filter(None, system)),
        tools=tuple(function_tools(body.get("tools"))),
        tool_choice=tool_choice(body.get("tool_choice")),
        is_parallel=body.get("parallel_tool_calls") is not False,
        schema=schema,
        wants_json=wants_json,
        image_count=images,
        max_tokens=whole_number(body, "max_output_tokens", least=LEAST_OUTPUT_TOKENS),
        reasoning_tokens=reasoning_tokens_of(model, effort),
    )


def _head(exchange: Exchange) -> dict[str, Any]:
    body, call = exchange.body, exchange.call
    call.upstream_id = exchange.sandbox.ids.hexadecimal("resp_")
    asked = body.get("service_tier")
    call.service_tier = asked if asked in SERVED_TIERS else "default"
    reasoning, text_options = body.get("reasoning"), body.get("text")
    tools = [_described(tool) for tool in body.get("tools") or () if isinstance(tool, dict)]
    given = {name: body[name] for name in DEFAULTS if body.get(name) is not None}
    return {
        "id": call.upstream_id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": call.model,
        "output": [],
        "reasoning": {"effort": None, "summary": None} | _object(reasoning),
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | _object(text_options),
        "service_tier": call.service_tier,
        "usage": None,
    } | (DEFAULTS | given | {"tools": tools})


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _described(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True} | tool


def _ending(answer: Reply) -> dict[str, Any]:
    if answer.finish != "length":
        return {"status": "completed", "completed_at": int(time.time())}
    return {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


def _output(exchange: Exchange, answer: Reply) -> Iterator[dict[str, Any]]:
    ids = exchange.sandbox.ids
    if answer.reasoning:
        reasoning = exchange.body.get("reasoning")
        wants_summary = isinstance(reasoning, dict) and reasoning.get("summary")
        summary = [{"type": "summary_text", "text": answer.reasoning}] if wants_summary else []
        yield {"id": ids.hexadecimal("rs_"), "type": "reasoning", "summary": summary}
    status = "incomplete" if answer.finish == "length" else "completed"
    if answer.text or not answer.tool_calls:
        yield {
            "id": ids.hexadecimal("msg_"),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [_text_part(answer.text)],
        }
    for call in answer.tool_calls:
        yield {
            "id": ids.hexadecimal("fc_"),
            "type": "function_call",
            "status": status,
            "call_id": ids.openai("call_"),
            "name": call.name,
            "arguments": call.arguments,
        }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _numbered(events: Iterator[tuple[dict[str, Any], int]]) -> Iterator[Event]:
    for sequence_number, (event, billed) in enumerate(events):
        data = orjson.dumps(event | {"sequence_number": sequence_number})
        yield b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data), billed


def _events(
    exchange: Exchange, head: dict[str, Any], final: dict[str, Any], answer: Reply
) -> Iterator[tuple[dict[str, Any], int]]:
    yield {"type": "response.created", "response": head}, 0
    yield {"type": "response.in_progress", "response": head}, 0
    for index, item in enumerate(final["output"]):
        if item["type"] == "reasoning":
            yield from _reasoning_events(index, item, answer)
        elif item["type"] == "message":
            yield from _message_events(index, item, answer)
        else:
            yield from _call_events(index, item, exchange.call.model)
    kind = "response.completed" if final["status"] == "completed" else "response.incomplete"
    yield {"type": kind, "response": final}, 0


def _reasoning_events(
    index: int, item: dict[str, Any], answer: Reply
) -> Iterator[tuple[dict[str, Any], int]]:
    yield _added(index, item | {"summary": []}), answer.reasoning_tokens
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    for part in item["summary"]:
        empty = {"type": "summary_text", "text": ""}
        yield {"type": "response.reasoning_summary_part.added", "part": empty} | place, 0
        yield {"type": "response.reasoning_summary_text.delta", "delta": part["text"]} | place, 0
        yield {"type": "response.reasoning_summary_text.done", "text": part["text"]} | place, 0
        yield {"type": "response.reasoning_summary_part.done", "part": part} | place, 0
    yield _done(index, item), 0


def _message_events(index: int, item: dict[str, Any], answer: Reply) -> Iterator[tuple[dict[str, Any], int]]:
    yield _added(index, item | {"status": "in_progress", "content": []}), 0
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield {"type": "response.content_part.added", "part": _text_part("")} | place, 0
    for piece in answer.pieces:
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": []} | place, 1
    yield {"type": "response.output_text.done", "text": answer.text, "logprobs": []} | place, 0
    yield {"type": "response.content_part.done", "part": _text_part(answer.text)} | place, 0
    yield _done(index, item), 0


def _call_events(index: int, item: dict[str, Any], model: str) -> Iterator[tuple[dict[str, Any], int]]:
    yield _added(index, item | {"status": "in_progress", "arguments": ""}), TOKENS_PER_TOOL_CALL
    place = {"item_id": item["id"], "output_index": index}
    for piece in pieces_of(item["arguments"], model):
        yield {"type": "response.function_call_arguments.delta", "delta": piece} | place, 1
    done = {"arguments": item["arguments"], "name": item["name"]}
    yield {"type": "response.function_call_arguments.done"} | done | place, 0
    yield _done(index, item), 0


def _added(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _done(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def _store(exchange: Exchange, payload: dict[str, Any], items: list[dict[str, Any]]) -> None:
    stored = exchange.sandbox.responses
    stored[payload["id"]] = (payload, items, exchange.call.key)
    while len(stored) > STORED_CAPACITY:
        del stored[next(iter(stored))]


def _stored(exchange: Exchange) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    response_id = exchange.request.match_info["response_id"]
    stored = exchange.sandbox.responses.get(response_id)
    if stored is None or stored[2] != exchange.call.key:
        raise ProviderError(404, f"Response with id '{response_id}' not found.", code="not_found")
    return stored[0], stored[1]
