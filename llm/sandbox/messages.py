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

from llm import tokens
from llm.sandbox.answers import pieces_of, reply
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Event, Exchange
from llm.sandbox.prompt import Prompt, Reply, Tool, Turn, image_count, text_of
from llm.sandbox.prompt_cache import Block
from llm.sandbox.usage import Usage
from llm.sandbox.validation import check_context, model_of, number, strings, whole_number

FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
}
MOST_BREAKPOINTS = 4
THINKING_TOKENS = 96
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STREAM_ERROR = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
)


async def create_message(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/messages."""
    prompt, usage, head, answer = answer_message(exchange)
    if exchange.body.get("stream") is not True:
        payload = head | {
            "content": _content(exchange, answer),
            "stop_reason": FINISHES[answer.finish],
            "stop_sequence": answer.stop_sequence,
            "usage": usage.messages(),
        }
        return await exchange.answer(payload, usage=usage, tokens=usage.output)

    def bill(produced: int, is_complete: bool) -> None:
        output = (
            usage.output if is_complete else min(usage.output, tokens.billed_tokens(produced, prompt.model))
        )
        billed = usage.with_output(output)
        exchange.call.bill(billed, billed.messages())

    return await exchange.stream(_events(exchange, head, answer, usage), bill=bill, error_event=STREAM_ERROR)


def answer_message(exchange: Exchange) -> tuple[Prompt, Usage, dict[str, Any], Reply]:
    """The prompt of a body, what it is billed, the message without its content, and the reply."""
    body = exchange.body
    model = model_of(exchange)
    prompt = _prompt(body, model)
    total = tokens.count_messages(body, model)
    check_context(exchange, total)
    answer = reply(prompt)
    usage = _usage(exchange, total, answer)
    exchange.call.upstream_id = exchange.sandbox.ids.anthropic("msg_")
    exchange.call.service_tier = "standard"
    head = {
        "id": exchange.call.upstream_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "context_management": None,
        "usage": usage.with_output(1).messages(),
    }
    return prompt, usage, head, answer


async def count_tokens(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/messages/count_tokens."""
    model = model_of(exchange)
    _check_messages(exchange.body)
    return await exchange.answer({"input_tokens": tokens.count_messages(exchange.body, model)})


def _prompt(body: dict[str, Any], model: str) -> Prompt:
    if whole_number(body, "max_tokens", least=1) is None:
        raise ProviderError(400, "max_tokens: Field required")
    _check_messages(body)
    number(body, "temperature", least=0, most=1)
    number(body, "top_p", least=0, most=1)
    turns: list[Turn] = []
    images = 0
    for message in body["messages"]:
        content = message["content"]
        if message["role"] != "system":
            turns.extend(_turns(message["role"], content))
            images += image_count(content)
    tools = body.get("tools")
    schema = _output_schema(body)
    return Prompt(
        model=model,
        turns=tuple(turns),
        system=text_of(body.get("system")),
        tools=tuple(_tools(tools)),
        tool_choice=_tool_choice(body.get("tool_choice")),
        is_parallel=not (
            isinstance(body.get("tool_choice"), dict) and body["tool_choice"].get("disable_parallel_tool_use")
        ),
        schema=schema,
        wants_json=schema is not None,
        image_count=images,
        max_tokens=body["max_tokens"],
        stop=strings(body.get("stop_sequences"), "stop_sequences"),
        reasoning_tokens=_thinking_tokens(body),
    )


def _check_messages(body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if messages is None:
        raise ProviderError(400, "messages: Field required")
    if not isinstance(messages, list) or not messages:
        raise ProviderError(400, "messages: at least one message is required")
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant", "system"):
            raise ProviderError(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if not isinstance(message.get("content"), (str, list)):
            raise ProviderError(400, f"messages.{index}.content: Field required")
        if message["content"] in ("", []) and role == "user":
            raise ProviderError(400, f"messages.{index}: user messages must have non-empty content")


def _turns(role: str, content: Any) -> Iterator[Turn]:
    text = text_of(content)
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "tool_result":
            yield Turn("tool", text_of(block.get("content")))
    if text or not isinstance(content, list):
        yield Turn(role, text)


def _tools(tools: Any) -> Iterator[Tool]:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("input_schema"), dict) and tool.get("name"):
            yield Tool(str(tool["name"]), str(tool.get("description") or ""), tool["input_schema"])


def _tool_choice(choice: Any) -> str:
    if not isinstance(choice, dict):
        return "auto"
    if choice.get("type") == "tool":
        return str(choice.get("name"))
    return {"any": "required", "none": "none"}.get(str(choice.get("type")), "auto")


def _output_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    config = body.get("output_config")
    asked = config.get("format") if isinstance(config, dict) else body.get("output_format")
    schema = asked.get("schema") if isinstance(asked, dict) else None
    return schema if isinstance(schema, dict) else None


def _thinking_tokens(body: dict[str, Any]) -> int:
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") == "disabled":
        return 0
    budget = thinking.get("budget_tokens")
    if thinking.get("type") == "enabled":
        if not isinstance(budget, int) or budget < 1_024:
            raise ProviderError(
                400, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
            )
        if budget >= body["max_tokens"]:
            raise ProviderError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    return min(THINKING_TOKENS, budget) if isinstance(budget, int) else THINKING_TOKENS


def _usage(exchange: Exchange, total: int, answer: Reply) -> Usage:
    body, model = exchange.body, exchange.call.model
    read = written_5m = written_1h = 0
    if b'"cache_control"' in exchange.raw:
        use = exchange.sandbox.prompt_cache.use_anthropic(
            _blocks(body, model, total), key=exchange.call.key, model=model
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


def _blocks(body: dict[str, Any], model: str, total: int) -> list[Block]:
    """The prompt in the order of its prefix (tools, system, messages), scaled to the total that is billed."""
    parts: list[tuple[str, Any]] = [("tools", tool) for tool in body.get("tools") or ()]
    system = body.get("system")
    parts += [
        ("system", block) for block in (system if isinstance(system, list) else [system] if system else ())
    ]
    for message in body["messages"]:
        content = message["content"]
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        parts += [(message["role"], block) for block in blocks]
    if isinstance(body.get("cache_control"), dict) and parts and isinstance(parts[-1][1], dict):
        parts[-1] = (parts[-1][0], parts[-1][1] | {"cache_control": body["cache_control"]})
    blocks = [_block(role, part, model) for role, part in parts]
    if sum(1 for block in blocks if block.ttl_seconds) > MOST_BREAKPOINTS:
        raise ProviderError(
            400, f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided."
        )
    counted = sum(block.tokens for block in blocks)
    if counted > total:
        blocks = [
            Block(block.content, block.tokens * total // counted, block.ttl_seconds) for block in blocks
        ]
    return blocks


def _block(role: str, part: Any, model: str) -> Block:
    if not isinstance(part, dict):
        return Block(f"{role}:{part}".encode(), tokens.count_text(str(part), model))
    control = part.get("cache_control")
    ttl = 0
    if isinstance(control, dict):
        ttl = 3600 if control.get("ttl") == "1h" else 300
    bare = {name: value for name, value in part.items() if name != "cache_control"}
    content = role.encode() + orjson.dumps(bare)
    if role == "tools":
        return Block(content, tokens.count_messages({"tools": [bare]}, model) - tokens.REPLY_PRIMING, ttl)
    counted = tokens.count_messages({"system": [bare]}, model) - tokens.REPLY_PRIMING
    return Block(content, counted + (0 if role == "system" else tokens.ANTHROPIC_TOKENS_PER_MESSAGE), ttl)


def _signature(answer: Reply) -> str:
    return base64.b64encode(hashlib.sha256(answer.reasoning.encode()).digest() * 3).decode()


def _content(exchange: Exchange, answer: Reply) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": _signature(answer)})
    if answer.text:
        content.append({"type": "text", "text": answer.text, "citations": None})
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
        yield _start(index, {"type": "tool_use", "id": identifier, "name": call.name, "input": {}}), 8
        for piece in ("", *pieces_of(call.arguments, exchange.call.model)):
            delta = {"type": "input_json_delta", "partial_json": piece}
            yield _event("content_block_delta", {"index": index, "delta": delta}), 1 if piece else 0
        yield _event("content_block_stop", {"index": index}), 0
        index += 1
    delta = {"stop_reason": FINISHES[answer.finish], "stop_sequence": answer.stop_sequence}
    yield _event("message_delta", {"delta": delta, "usage": _final_usage(exchange, usage)}), 0
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
