"""Owns how many tokens a request is: text by tiktoken, and each API's framing around it.

Invariant: the same body and model always give the same count, and where a provider's framing is not
published the approximation is too high rather than too low, because holds are made from it. Pure: needs no Django, no network,
no settings.

Approximations, all too high rather than too low:
- tools and JSON schemas count as their compact JSON; the providers render them shorter;
- Claude's tokenizer is not published: o200k_base tokens times a factor per generation;
- audio and documents by the smallest bytes-per-token ratio of their format.
"""

import functools
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

import orjson
import tiktoken

from llm.tokens import vocabularies
from llm.tokens.images import anthropic_image_tokens, openai_image_tokens

CHUNK_CHARACTERS = 16_000  # tiktoken's regular expression overflows its stack on very long runs
SHORT_CHARACTERS = 2_048
CACHED_TEXTS = 8_192

TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_PER_TOOL = 7
TOKENS_FOR_TOOLS = 12
TOKENS_PER_TOOL_CALL = 8
REPLY_PRIMING = 3

ANTHROPIC_TOKENS_PER_MESSAGE = 4
ANTHROPIC_TOOL_PROMPT = 346  # the system prompt Anthropic adds when tools are given
ANTHROPIC_THINKING_PROMPT = 30
TOKENS_PER_PAGE = 3_000  # a PDF page: up to 1,500 of text and as much as an image
BYTES_PER_PAGE = 30_000
WAV_BYTES_PER_TOKEN, AUDIO_BYTES_PER_TOKEN = 800, 200

CL100K_PREFIXES = (
    "gpt-4-",
    "gpt-3.5",
    "gpt-35",
    "text-embedding",
    "ft:gpt-3.5",
    "davinci-002",
    "babbage-002",
)
OPENAI_MODELS = re.compile(r"(ft:)?(gpt-|chatgpt-|o\d|text-embedding-|davinci-|babbage-)")
CLAUDE_VERSION = re.compile(r"claude-[a-z]+-(\d+)(?:[-.](\d{1,2}))?(?!\d)")
CLAUDE_PERCENT, NEW_CLAUDE_PERCENT = 120, 160  # of o200k_base; the tokenizer changed with Claude 4.7

LONGEST_TOKEN_BYTES = 128  # of any token of either vocabulary

# whose texts are counted: the time of an answer must not reveal another tenant's text
counted_for: ContextVar[int | None] = ContextVar("counted_for", default=None)
LONG_COUNTS: dict[tuple[int | None, str, bytes], int] = {}  # by digest, so that long texts are not kept


@functools.cache
def encoding_for(model: str) -> tiktoken.Encoding:
    """The vocabulary of the model; o200k_base for everything that is not known to use an older one."""
    return _encoding(_encoding_name(model))


def count_text(text: str, model: str) -> int:
    """Tokens of a text, special ones taken as plain text; 500 cost about 60 us, a repeated text 1 us."""
    return billed_tokens(_count(_encoding_name(model), text), model)


def billed_tokens(vocabulary_tokens: int, model: str) -> int:
    """The model's own tokens for so many tokens of `encoding_for(model)`; they differ for Claude only."""
    if model.startswith("claude"):
        return -(-vocabulary_tokens * _claude_percent(model) // 100)
    return vocabulary_tokens


def has_exact_vocabulary(model: str) -> bool:
    """Whether the model's own vocabulary is known, so that its tokens are counted and not estimated."""
    return OPENAI_MODELS.match(model) is not None


def count_chat(body: Mapping[str, Any], model: str) -> int:
    """Input tokens of an OpenAI chat completion body."""
    messages = body.get("messages")
    total = REPLY_PRIMING
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            total += _chat_message(message, model)
    total += _tools(body.get("tools"), model) + _tools(body.get("functions"), model)
    return total + _schema(body.get("response_format"), model)


def count_responses(body: Mapping[str, Any], model: str) -> int:
    """Input tokens of an OpenAI responses body."""
    total = REPLY_PRIMING
    if body.get("instructions"):
        total += TOKENS_PER_MESSAGE + 1 + _content(body["instructions"], model)
    items = body.get("input")
    if isinstance(items, str):
        total += TOKENS_PER_MESSAGE + 1 + count_text(items, model)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            total += _responses_item(item, model)
    total += _tools(body.get("tools"), model)
    text = body.get("text")
    return total + _schema(text.get("format") if isinstance(text, dict) else None, model)


def count_messages(body: Mapping[str, Any], model: str) -> int:
    """Input tokens of an Anthropic messages body."""
    total = REPLY_PRIMING
    if body.get("system"):
        total += _anthropic_content(body["system"], model)
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            total += ANTHROPIC_TOKENS_PER_MESSAGE + _anthropic_content(message.get("content"), model)
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        total += ANTHROPIC_TOOL_PROMPT + sum(TOKENS_PER_TOOL + _json(tool, model) for tool in tools)
    if isinstance(body.get("thinking"), dict) and body["thinking"].get("type") != "disabled":
        total += ANTHROPIC_THINKING_PROMPT
    return total


def count_prompt(prompt: Any, model: str) -> int:
    """Input tokens of a legacy `prompt` or an embeddings `input`: texts or lists of tokens."""
    if isinstance(prompt, str):
        return count_text(prompt, model)
    if not isinstance(prompt, list):
        return 0
    return sum(
        count_text(part, model) if isinstance(part, str) else len(part) if isinstance(part, list) else 1
        for part in prompt
    )


@functools.cache
def _encoding(name: str) -> tiktoken.Encoding:
    os.environ["TIKTOKEN_CACHE_DIR"] = str(vocabularies.unpack())
    return tiktoken.get_encoding(name)


@functools.lru_cache(maxsize=4_096)
def _encoding_name(model: str) -> str:
    return "cl100k_base" if model == "gpt-4" or model.startswith(CL100K_PREFIXES) else "o200k_base"


@functools.lru_cache(maxsize=4_096)
def _claude_percent(model: str) -> int:
    version = CLAUDE_VERSION.match(model)
    if version is None:
        return CLAUDE_PERCENT
    return NEW_CLAUDE_PERCENT if (int(version[1]), int(version[2] or 0)) >= (4, 7) else CLAUDE_PERCENT


def _count(encoding_name: str, text: str) -> int:
    if len(text) <= SHORT_CHARACTERS:
        return count_short(encoding_name, text)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    name = (counted_for.get(), encoding_name, digest)
    known = LONG_COUNTS.get(name)
    if known is None:
        known = _count_chunks(encoding_name, text)
        if len(LONG_COUNTS) >= CACHED_TEXTS:
            LONG_COUNTS.clear()
        LONG_COUNTS[name] = known
    return known


@functools.lru_cache(maxsize=CACHED_TEXTS)
def count_short(encoding_name: str, text: str) -> int:
    return len(_encoding(encoding_name).encode_ordinary(text))


def _count_chunks(encoding_name: str, text: str) -> int:
    encoding = _encoding(encoding_name)
    return sum(len(encoding.encode_ordinary(chunk)) for chunk in _chunks(text))


def _chunks(text: str) -> Iterable[str]:
    """Pieces of bounded length, cut behind a word where there is one: a word's token ends there in every vocabulary."""
    start = 0
    while len(text) - start > CHUNK_CHARACTERS:
        earliest, end = start + CHUNK_CHARACTERS // 2, start + CHUNK_CHARACTERS
        cut = text.rfind(" ", earliest, end)
        while cut > 0 and not text[cut - 1].isalnum():
            cut = text.rfind(" ", earliest, cut)
        end = cut if cut > 0 else end
        yield text[start:end]
        start = end
    yield text[start:]


def _json(value: Any, model: str) -> int:
    try:
        return count_text(orjson.dumps(value, default=str).decode(), model)
    except TypeError:  # nested too deeply, or a number too large, for orjson
        return count_text(_flattened(value), model)


def _flattened(value: Any) -> str:
    """Every word of a value, with brackets for its structure."""
    parts: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            parts.append('{"":}')
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            parts.append("[,]")
            waiting += item
        else:
            parts.append(str(item))
    return " ".join(parts)


def _tools(tools: Any, model: str) -> int:
    if not isinstance(tools, list) or not tools:
        return 0
    return TOKENS_FOR_TOOLS + sum(TOKENS_PER_TOOL + _json(tool, model) for tool in tools)


def _schema(response_format: Any, model: str) -> int:
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return 0
    return TOKENS_PER_TOOL + _json(response_format, model)


def _chat_message(message: Mapping[str, Any], model: str) -> int:
    total = TOKENS_PER_MESSAGE + 1 + _content(message.get("content"), model)
    if message.get("name"):
        total += TOKENS_PER_NAME + count_text(str(message["name"]), model)
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") or call.get("custom") if isinstance(call, dict) else None
        if isinstance(function, dict):
            total += TOKENS_PER_TOOL_CALL + count_text(str(function.get("name") or ""), model)
            total += count_text(str(function.get("arguments") or function.get("input") or ""), model)
    if isinstance(message.get("function_call"), dict):
        total += TOKENS_PER_TOOL_CALL + _json(message["function_call"], model)
    return total


def _content(content: Any, model: str) -> int:
    if isinstance(content, str):
        return count_text(content, model)
    if not isinstance(content, list):
        return 0
    return sum(_part(part, model) for part in content if isinstance(part, dict))


def _part(part: Mapping[str, Any], model: str) -> int:
    kind = part.get("type")
    if kind == "image_url":
        return openai_image_tokens(part.get("image_url"), model)
    if kind == "input_image":
        return openai_image_tokens({"url": part.get("image_url"), "detail": part.get("detail")}, model)
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return _audio(part["input_audio"])
    if kind == "file" and isinstance(part.get("file"), dict):
        return _pages(part["file"].get("file_data"))
    if kind == "input_file":
        return _pages(part.get("file_data"))
    text = part.get("text") or part.get("refusal") or ""
    return count_text(text, model) if isinstance(text, str) else _json(text, model)


def _audio(audio: Mapping[str, Any]) -> int:
    size = len(str(audio.get("data") or "")) * 3 // 4
    return -(-size // (WAV_BYTES_PER_TOKEN if audio.get("format") == "wav" else AUDIO_BYTES_PER_TOKEN))


def _pages(encoded: Any) -> int:
    size = len(encoded) * 3 // 4 if isinstance(encoded, str) else 0
    return TOKENS_PER_PAGE * max(1, -(-size // BYTES_PER_PAGE))


def _responses_item(item: Mapping[str, Any], model: str) -> int:
    kind = item.get("type", "message")
    if kind == "message":
        return TOKENS_PER_MESSAGE + 1 + _content(item.get("content"), model)
    if kind == "function_call_output":
        output = item.get("output")
        return TOKENS_PER_MESSAGE + 1 + _content(output, model)
    if kind == "function_call":
        total = TOKENS_PER_TOOL_CALL + count_text(str(item.get("name") or ""), model)
        return total + count_text(str(item.get("arguments") or ""), model)
    return TOKENS_PER_MESSAGE + _json(item, model)


def _anthropic_content(content: Any, model: str) -> int:
    if isinstance(content, str):
        return count_text(content, model)
    if not isinstance(content, list):
        return 0
    return sum(_anthropic_block(block, model) for block in content if isinstance(block, dict))


def _anthropic_block(block: Mapping[str, Any], model: str) -> int:
    kind = block.get("type")
    if kind == "text":
        return count_text(str(block.get("text") or ""), model)
    if kind == "image":
        return anthropic_image_tokens(block.get("source"))
    if kind == "document":
        return _anthropic_document(block.get("source"), model) + count_text(
            str(block.get("title") or ""), model
        )
    if kind == "tool_result":
        return TOKENS_PER_TOOL_CALL + _anthropic_result(block.get("content"), model)
    if kind == "tool_use":
        name = count_text(str(block.get("name") or ""), model)
        return TOKENS_PER_TOOL_CALL + name + _json(block.get("input"), model)
    if kind == "thinking":
        return count_text(str(block.get("thinking") or ""), model)
    return _json(block, model)


def _anthropic_result(content: Any, model: str) -> int:
    if not isinstance(content, list):
        return _anthropic_content(content, model)
    images = sum(
        anthropic_image_tokens(part.get("source"))
        for part in content
        if isinstance(part, dict) and part.get("type") == "image"
    )
    rest = [part for part in content if not (isinstance(part, dict) and part.get("type") == "image")]
    return images + (_json(rest, model) if rest else 0)


def _anthropic_document(source: Any, model: str) -> int:
    if not isinstance(source, dict):
        return TOKENS_PER_PAGE
    if source.get("type") == "text":
        return count_text(str(source.get("data") or ""), model)
    if source.get("type") == "content":
        return _anthropic_result(source.get("content"), model)
    return _pages(source.get("data"))
