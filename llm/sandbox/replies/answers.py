"""Owns a model's reply to a prompt: text, JSON or tool calls, cut where the prompt's bounds say.

Invariant: a pure function of the prompt; output tokens never exceed `max_tokens`.
"""

import functools
import re

import orjson

from llm.sandbox.errors import ProviderError
from llm.sandbox.prompt import Prompt, Reply, ToolCall
from llm.sandbox.replies import exercises, prose
from llm.sandbox.replies.patterns import UnsupportedPattern
from llm.sandbox.replies.schema_values import value_for
from llm.sandbox.replies.tool_use import tool_calls
from llm.tokens import counting

TOKENS_PER_TOOL_CALL = 8
CACHED_CHARACTERS = 4_096
JSON_KEYS = re.compile(
    r"\b(?:keys?|fields?|properties)\b[^\"'`:\n]{0,30}:?\s*((?:[\"'`]?\w+[\"'`]?(?:\s*(?:,|and)\s*)?)+)",
    re.IGNORECASE,
)


def reply(prompt: Prompt) -> Reply:
    """What the model answers; raises ProviderError for a schema it cannot follow."""
    try:
        calls = tool_calls(prompt)
        text = "" if calls else _text(prompt)
    except UnsupportedPattern as error:
        raise ProviderError(
            400, f"Invalid schema: pattern {error} is not supported.", param="response_format"
        ) from error
    text, stop_sequence = _stopped(text, prompt.stop)
    pieces = pieces_of(text, prompt.model)
    reasoning_tokens = prompt.reasoning_tokens
    called = sum(_tokens_of_call(call, prompt.model) for call in calls)
    finish = "tool_calls" if calls else "stop" if stop_sequence is None else "stop_sequence"
    total = reasoning_tokens + counting.count_text(text, prompt.model) + called
    if prompt.max_tokens is not None and total > prompt.max_tokens:
        reasoning_tokens = min(reasoning_tokens, prompt.max_tokens)
        pieces = _first_pieces(pieces, prompt.max_tokens - reasoning_tokens, prompt.model)
        calls, finish, stop_sequence, total = _cut_calls(calls, prompt), "length", None, prompt.max_tokens
    reasoning = _reasoning(prompt) if reasoning_tokens else ""
    return Reply(
        pieces=pieces,
        tool_calls=calls,
        reasoning=reasoning,
        reasoning_tokens=reasoning_tokens,
        output_tokens=total,
        finish=finish,
        stop_sequence=stop_sequence,
    )


@functools.lru_cache(maxsize=4_096)
def pieces_of(text: str, model: str) -> tuple[str, ...]:
    """The text token by token; tokens that end within a character are joined to the next."""
    encoding = counting.encoding_for(model)
    pieces: list[str] = []
    pending = b""
    for token in encoding.decode_tokens_bytes(encoding.encode_ordinary(text)):
        pending += token
        try:
            pieces.append(pending.decode())
        except UnicodeDecodeError:
            continue
        pending = b""
    if pending:
        pieces.append(pending.decode(errors="replace"))
    return tuple(pieces)


def _text(prompt: Prompt) -> str:
    if prompt.schema is not None:
        return orjson.dumps(
            value_for(prompt.schema, question=prompt.question, answer=_prose(prompt))
        ).decode()
    if prompt.wants_json:
        return _json_object(prompt)
    return _prose(prompt)


def _prose(prompt: Prompt) -> str:
    if prompt.known_answer:
        return prompt.known_answer
    if sum(len(turn.text) for turn in prompt.turns) <= CACHED_CHARACTERS:
        return _cached_prose(prompt)
    return prose.answer(prompt)


@functools.lru_cache(maxsize=4_096)
def _cached_prose(prompt: Prompt) -> str:
    return prose.answer(prompt)


def _json_object(prompt: Prompt) -> str:
    match = JSON_KEYS.search(f"{prompt.question}\n{prompt.system}")
    names = (
        [name for name in re.findall(r"\w+", match[1]) if name not in ("and", "or", "a", "the")]
        if match
        else []
    )
    schema = {"type": "object", "properties": {name: {} for name in names or ["answer"]}}
    return orjson.dumps(value_for(schema, question=prompt.question, answer=_prose(prompt))).decode()


def _stopped(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(text.find(sequence), sequence) for sequence in stop if sequence and sequence in text]
    if not found:
        return text, None
    position, sequence = min(found)
    return text[:position], sequence


def _first_pieces(pieces: tuple[str, ...], most_tokens: int, model: str) -> tuple[str, ...]:
    count = min(len(pieces), max(0, most_tokens))
    while count and counting.billed_tokens(count, model) > most_tokens:
        count -= 1
    return pieces[:count]


def _cut_calls(calls: tuple[ToolCall, ...], prompt: Prompt) -> tuple[ToolCall, ...]:
    """The arguments of a call that ran into the limit break off, as the providers' do."""
    return tuple(
        ToolCall(call.name, call.arguments[: max(0, (prompt.max_tokens or 0) - 4)]) for call in calls
    )


def _tokens_of_call(call: ToolCall, model: str) -> int:
    return (
        TOKENS_PER_TOOL_CALL
        + counting.count_text(call.name, model)
        + counting.count_text(call.arguments, model)
    )


def _reasoning(prompt: Prompt) -> str:
    topic = ", ".join(exercises.keywords(prompt.question)) or "the question"
    return f"The user asks about {topic}. I recall what matters, check it, and answer briefly."
