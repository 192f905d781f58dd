"""Anthropic message streams: measured, passed on, replayed.

Invariant: usage in a stream is cumulative, so a later figure that is larger replaces an earlier one and nothing is ever
added.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from billing.usage import is_empty, merged, told_in
from llm.streams.sse import encode, splice_purser
from llm.wire.formats import Body

_TEXT_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class MessagesMeter:
    """Follows a messages stream."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.has_output = False
        self.has_ended = False
        self._message: Body = {}
        self._blocks: dict[int, _Block] = {}
        self._open_blocks: set[int] = set()

    def feed(self, payload: Body) -> None:
        kind = payload.get("type")
        if told := told_in(payload):
            self.usage = merged(self.usage or {}, told)
        if kind == "content_block_delta":
            self.has_output = True
            block = self._blocks.get(payload["index"])
            if block is None:
                block = self._blocks[payload["index"]] = _Block({"type": "text", "text": ""})
            block.feed(payload["delta"])
        elif kind == "content_block_stop":
            self._open_blocks.discard(payload["index"])
        elif kind == "content_block_start":
            self._open_blocks.add(payload["index"])
            self._blocks[payload["index"]] = _Block(payload["content_block"])
            self.has_output = self.has_output or payload["content_block"].get("type") not in (
                "text",
                "thinking",
            )
        elif kind == "message_start":
            self._message = {**payload["message"]}
        elif kind == "message_delta":
            self._message.update(payload.get("delta") or {})
            self.finish_reason = self._message.get("stop_reason") or self.finish_reason
        elif kind == "message_stop":
            self.has_ended = True
            if is_empty(self.usage):
                self.usage = None  # the protocol has no way to leave usage out: some servers say zero instead

    def text(self) -> str:
        return "".join(block.everything() for block in self._blocks.values())

    def response(self) -> Body:
        content = [self._blocks[index].to_json() for index in sorted(self._blocks)]
        return {**self._message, "content": content, "usage": self.usage or {}}

    def cut_short(self, *, input_tokens: int, output_tokens: int) -> list[Body]:
        usage = {"input_tokens": input_tokens, **(self.usage or {}), "output_tokens": output_tokens}
        return [
            *({"type": "content_block_stop", "index": index} for index in sorted(self._open_blocks)),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
                "usage": usage,
            },
            {"type": "message_stop"},
        ]


class _Block:
    """One content block of a stream, put together."""

    __slots__ = ("_citations", "_pieces", "_start", "signature")

    def __init__(self, start: Body) -> None:
        self._start = start
        self._pieces: list[str] = []
        self._citations: list[Any] = []
        self.signature = ""

    def feed(self, delta: Body) -> None:
        kind = delta.get("type", "")
        if kind in _TEXT_DELTAS:
            self._pieces.append(delta.get(_TEXT_DELTAS[kind]) or "")
        elif kind == "signature_delta":
            self.signature = delta.get("signature") or ""
        elif kind == "citations_delta":
            self._citations.append(delta.get("citation"))

    def everything(self) -> str:
        return block_text({**self._start, "input": None}) + "".join(self._pieces)

    def to_json(self) -> Body:
        block = {**self._start}
        kind = block.get("type")
        pieces = "".join(self._pieces)
        if kind in ("text", "thinking"):
            block[kind] = (block.get(kind) or "") + pieces
        elif pieces:
            block["input"] = _object_or_empty(pieces)
        if self.signature:
            block["signature"] = self.signature
        if self._citations:
            block["citations"] = [*(block.get("citations") or []), *self._citations]
        return block


class MessagesTail:
    """Passes events on; the last two wait for our facts.

    Both carry them: `message_stop` is the last event, but of the two the SDK's streaming helper shows only
    `message_delta` whole.
    """

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

    def feed(self, raw: bytes, payload: Body | None) -> bytes:
        if payload is not None and payload.get("type") in ("message_delta", "message_stop"):
            earlier = self._held.pop(payload["type"], b"")  # several deltas: usage may be told more than once
            self._held[payload["type"]] = raw
            return earlier
        return raw

    def close(self, block: Body) -> bytes:
        self._held.setdefault("message_stop", encode({"type": "message_stop"}, event="message_stop"))
        return b"".join(splice_purser(raw, block) for raw in self._held.values())


def replay(response: Body, block: Body, *, wants_usage: bool) -> Iterator[bytes]:
    """Tell a stored answer as a stream; every content block as one delta."""
    usage = response.get("usage") or {}
    start = {
        **response,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 0},
    }
    yield encode({"type": "message_start", "message": start}, event="message_start")
    for index, content in enumerate(response.get("content") or ()):
        empty, deltas = _opened(content)
        yield _event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    end = {"stop_reason": response.get("stop_reason"), "stop_sequence": response.get("stop_sequence")}
    yield _event("message_delta", delta=end, usage=usage, purser=block)
    yield _event("message_stop", purser=block)


def block_text(block: Body) -> str:
    """The text of a content block that counts as output."""
    text = block.get("text") or block.get("thinking") or block.get("name") or ""
    return text if block.get("input") is None else text + orjson.dumps(block["input"]).decode()


def _event(kind: str, **facts: Any) -> bytes:
    return encode({"type": kind, **facts}, event=kind)


def _opened(content: Body) -> tuple[Body, list[Body]]:
    """A content block as it starts, and the deltas that fill it."""
    kind = content.get("type")
    if kind == "text":
        deltas = [{"type": "text_delta", "text": content.get("text", "")}]
        deltas += [
            {"type": "citations_delta", "citation": citation} for citation in content.get("citations") or ()
        ]
        return {**content, "text": "", **({"citations": []} if content.get("citations") else {})}, deltas
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": content.get("thinking", "")}]
        deltas.append({"type": "signature_delta", "signature": content.get("signature", "")})
        return {**content, "thinking": "", "signature": ""}, deltas
    if isinstance(content.get("input"), dict) and kind in ("tool_use", "server_tool_use"):
        json = orjson.dumps(content["input"]).decode()
        return {**content, "input": {}}, [{"type": "input_json_delta", "partial_json": json}]
    return content, []


def _object_or_empty(json: str) -> Any:
    try:
        return orjson.loads(json)
    except orjson.JSONDecodeError:
        return {}  # cut off in the middle: the stop reason says so
