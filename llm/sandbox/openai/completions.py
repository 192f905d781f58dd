"""Owns the legacy `/v1/completions`, plain and streamed.

Invariant: several prompts are answered in order, `n` choices each, indexed through.
"""

from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Event, Exchange
from llm.sandbox.openai.chat import finish_of, framed, head_of, send_stream, tail, usage_of
from llm.sandbox.prompt import Prompt, Reply, Turn
from llm.sandbox.replies.answers import reply
from llm.sandbox.usage import Usage
from llm.sandbox.validation import model_of, strings, whole_number
from llm.tokens import counting

DEFAULT_MAX_TOKENS = 16


async def create_completion(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/completions."""
    body = exchange.body
    model = model_of(exchange)
    given = body.get("prompt", "")
    prompts = given if isinstance(given, list) and given and isinstance(given[0], (str, list)) else [given]
    variants = whole_number(body, "n", least=1, most=128) or 1
    replies = [
        reply(_prompt(body, model=model, text=text, variant=variant))
        for text in prompts
        for variant in range(variants)
    ]
    usage = usage_of(exchange, counting.count_prompt(given, model), replies, {"p": given})
    head = head_of(exchange, "cmpl-", "text_completion")
    if body.get("stream") is not True:
        choices = [_choice(index, answer.text, finish_of(answer)) for index, answer in enumerate(replies)]
        payload = head | {"choices": choices, "usage": usage.chat()}
        return await exchange.answer(payload, usage=usage, tokens=usage.output)
    return await send_stream(exchange, _events(exchange, head, replies, usage), usage)


def _prompt(body: dict[str, Any], *, model: str, text: Any, variant: int) -> Prompt:
    limit = whole_number(body, "max_tokens", least=1)
    return Prompt(
        model=model,
        turns=(Turn("user", text if isinstance(text, str) else decoded(text, model)),),
        max_tokens=DEFAULT_MAX_TOKENS if limit is None else limit,
        stop=strings(body.get("stop"), "stop"),
        variant=variant,
    )


def decoded(ids: Any, model: str) -> str:
    """The text of a list of tokens; raises 400 for what is no token."""
    try:
        return counting.encoding_for(model).decode(ids)
    except (TypeError, KeyError, OverflowError) as error:
        raise ProviderError(400, "Invalid tokens in the input.", param="input") from error


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _events(exchange: Exchange, head: dict[str, Any], replies: list[Reply], usage: Usage) -> Iterator[Event]:
    before, after = framed(exchange, head)
    for index, answer in enumerate(replies):
        for piece in answer.pieces:
            yield before + orjson.dumps(_choice(index, piece, None)) + after, 1
        yield before + orjson.dumps(_choice(index, "", finish_of(answer))) + after, 0
    yield from tail(exchange, head, usage)
