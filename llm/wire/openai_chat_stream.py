"""OpenAI chat completion streams: measured, passed on, replayed.

Invariant: a client gets the same from a metered stream and from the replay of its answer.
"""

from collections.abc import Iterator
from operator import methodcaller
from typing import Any, Final

from billing.usage.reading import merged, reported_usage
from llm.wire.formats import Body
from llm.wire.texts.merging import WHOLE_FIELDS, add_parts, merge
from llm.wire.texts.message_texts import without_repeated_reasoning
from llm.wire.texts.sse import DONE, encode, splice_purser
from llm.wire.tool_calls import ToolCalls

_UNBILLED_AS_TEXT = frozenset({"role", "type", "id", "data", "signature", "url", "b64_json", "annotations"})
_REPEATED_FIELDS: Final = ("id", "object", "created", "model")
_FINISH_REASON: Final = methodcaller("get", "finish_reason")
_CHUNK_FIELDS = ("id", "created", "model", "system_fingerprint", "service_tier")


class ChatMeter:
    """Follows a chat stream."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.is_usage_final = True
        self.finish_reason: str | None = None
        self.has_output = False
        self._envelope: Body = {}
        self._choices: dict[int, _Choice] = {}
        self._is_finished = False  # all of it came, even if no finish did

    def feed(self, payload: Body) -> None:
        if reported := reported_usage(payload):
            self.usage = merged(self.usage or {}, reported)
        choices = payload.get("choices")
        if "id" not in self._envelope or not choices:  # a first chunk may have an empty one
            self._envelope.update((name, payload[name]) for name in _CHUNK_FIELDS if payload.get(name))
        if choices:
            self._is_finished = False
        for part in choices or ():
            index = part.get("index") or 0
            if not isinstance(index, int):
                index = 0
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice(index)
            delta = part.get("delta") or (message_of(part) if choice.is_empty else None)
            if delta:
                content = delta.get("content")
                if type(content) is str and len(delta) == 1:
                    choice.texts.append(content)
                else:
                    choice.feed(delta)
                self.has_output = self.has_output or bool(content) or says_something(delta)
            if part.get("finish_reason"):
                choice.finish_reason = self.finish_reason = part["finish_reason"]
            if part.get("logprobs"):
                choice.feed_logprobs(part["logprobs"])
        if not choices and payload.get("usage"):  # the protocol's last chunk
            self._is_finished = bool(self._choices)

    @property
    def is_exact(self) -> bool:
        return all(choice.is_exact for choice in self._choices.values())

    def end(self) -> None:
        self._is_finished = bool(self._choices)

    @property
    def has_ended(self) -> bool:
        if self._is_finished:
            return True
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    def text(self) -> str:
        return "".join(choice.everything() for choice in self._choices.values())

    def response(self) -> Body:
        choices = [self._choices[index].to_json() for index in sorted(self._choices)]
        whole: Body = {"object": "chat.completion", **self._envelope, "choices": choices}
        return {**whole, "usage": self.usage} if self.usage is not None else whole

    def cut_short(self, *, input_tokens: int, output_tokens: int) -> list[Body]:
        open_choices = [index for index, choice in self._choices.items() if not choice.finish_reason]
        envelope: Body = {"object": "chat.completion.chunk", **self._envelope}
        ends = [{"index": index, "delta": {}, "finish_reason": "length"} for index in open_choices or [0]]
        usage = cut_usage(input_tokens, output_tokens)
        return [{**envelope, "choices": [end]} for end in ends] + [
            {**envelope, "choices": [], "usage": usage}
        ]


class _Choice:
    """One answer of a stream, put together."""

    __slots__ = ("_calls", "_logprobs", "_message", "_parts", "_texts", "finish_reason", "index", "texts")

    def __init__(self, index: int) -> None:
        self.index = index
        self.texts: list[str] = []  # of the content since the last part of a list
        self.finish_reason: str | None = None
        self._parts: list[Any] = []  # of a content that comes as a list
        self._texts: dict[str, list[str]] = {}  # of every other field that comes in pieces
        self._message: Body = {}
        self._calls = ToolCalls()
        self._logprobs: Body | None = None

    @property
    def is_exact(self) -> bool:
        return self._calls.is_exact

    @property
    def is_empty(self) -> bool:
        return not (self.texts or self._parts or self._texts or self._message or self._calls)

    def feed(self, delta: Body) -> None:
        for name, value in delta.items():
            if name == "content" and isinstance(value, str):
                self.texts.append(value)
            elif name == "content" and isinstance(value, list):
                self._close_text()
                add_parts(self._parts, value)
            elif name == "tool_calls":
                for part in value or ():
                    self._calls.take(part)
            elif isinstance(value, str) and name not in WHOLE_FIELDS:
                self._texts.setdefault(name, []).append(value)
            elif value is not None:
                merge(self._message, {name: value})

    def feed_logprobs(self, logprobs: Body) -> None:
        self._logprobs = self._logprobs or {}
        for name, tokens in logprobs.items():
            if isinstance(tokens, list):
                known = self._logprobs.get(name)
                if isinstance(known, list):
                    known.extend(tokens)
                else:
                    self._logprobs[name] = [*tokens]
            else:
                self._logprobs.setdefault(name, tokens)

    def everything(self) -> str:
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        calls = [call.to_json() for call in self._calls.in_order()]
        said = without_repeated_reasoning({**self._message, **texts, "tool_calls": calls})
        return "".join([*billed_texts(said), *billed_texts(self._parts), *self.texts])

    def to_json(self) -> Body:
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        message = {"role": "assistant", **self._message, **texts, "content": self._content()}
        message.setdefault("refusal", None)
        if self._calls:
            message["tool_calls"] = [call.to_json() for call in self._calls.in_order()]
        return {
            "index": self.index,
            "message": message,
            "logprobs": self._logprobs,
            "finish_reason": self.finish_reason,
        }

    def _content(self) -> Any:
        if self._parts:
            self._close_text()
            return self._parts
        return "".join(self.texts) if self.texts and (any(self.texts) or not self._calls) else None

    def _close_text(self) -> None:
        """What came as a text becomes a part among others."""
        if text := "".join(self.texts):
            add_parts(self._parts, [{"type": "text", "text": text}])
        self.texts = []


class ChatTail:
    """Passes chunks on; the last one waits for our facts. Usage that the client did not ask for is hidden."""

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._held = b""
        self._last: Body = {}

    def feed(self, raw: bytes, payload: Body | None) -> bytes:
        if payload is None:
            return b"" if b"[DONE]" in raw else raw
        choices = payload.get("choices")
        if not choices and payload.get("usage") is not None:
            if not self._wants_usage:
                return b""
        elif not any(map(_FINISH_REASON, choices or ())):
            self._last = payload
            if not self._held:
                return raw
            released, self._held = self._held + raw, b""
            return released
        released, self._held = self._held, raw
        return released

    def close(self, block: Body) -> bytes:
        if self._held:
            return splice_purser(self._held, block) + DONE
        chunk: Body = {name: self._last[name] for name in _REPEATED_FIELDS if name in self._last}
        chunk["choices"] = [{"index": 0, "delta": {}, "finish_reason": None}]
        return encode({**chunk, "purser": block}) + DONE


def replay(response: Body, block: Body, *, wants_usage: bool) -> Iterator[bytes]:
    """Send a stored answer as a stream: per choice its message and its end; then usage if asked for."""
    chunks = _chunks(response, wants_usage=wants_usage)
    yield from (encode(chunk) for chunk in chunks[:-1])
    yield encode({**chunks[-1], "purser": block}) + DONE


def events_of(response: Body) -> Iterator[Body]:
    """The chunks of a stream of this answer."""
    yield from _chunks(response, wants_usage=True)


def message_of(choice: Body) -> Body | None:
    """The message of a choice that some servers put where its delta belongs."""
    message = choice.get("message")
    return message if isinstance(message, dict) else None


def says_something(delta: Body) -> bool:
    """Whether there is output in it: a first chunk has a role, and empty fields."""
    return any(value and name != "role" for name, value in delta.items())


def _chunks(response: Body, *, wants_usage: bool) -> list[Body]:
    known = {name: response[name] for name in _CHUNK_FIELDS if name in response}
    envelope: Body = {"object": "chat.completion.chunk", **known}
    chunks: list[Body] = []
    for choice in response.get("choices") or ():
        message = choice.get("message") or {}
        delta = {name: value for name, value in message.items() if value is not None}
        if delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(delta["tool_calls"])]
        part = {"index": choice.get("index", 0), "delta": delta, "finish_reason": None}
        if choice.get("logprobs"):
            part["logprobs"] = choice["logprobs"]
        end = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason")}
        chunks += [{**envelope, "choices": [part]}, {**envelope, "choices": [end]}]
    if wants_usage:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**envelope, "choices": [], "usage": response.get("usage")})
    return chunks


def cut_usage(input_tokens: int, output_tokens: int) -> Body:
    """The usage block of a stream that was cut short."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def billed_texts(value: Any) -> Iterator[str]:
    """The texts inside a message that count as output: content, reasoning, refusals, names and arguments of calls."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _UNBILLED_AS_TEXT:
                yield from billed_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from billed_texts(item)
