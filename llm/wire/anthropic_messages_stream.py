"""Anthropic message streams: measured, passed on, replayed.

Invariant: usage in a stream is cumulative, so a later figure that is larger replaces an earlier one and nothing is ever
added.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from billing.usage.reading import is_empty, merged, reported_usage
from llm.wire.formats import Body
from llm.wire.texts.sse import encode, splice_purser

_TEXT_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_BLOCKS_OF = {
    "text_delta": ("text",),
    "thinking_delta": ("thinking",),
    "input_json_delta": ("tool_use", "server_tool_use", "mcp_tool_use"),
}


class MessagesMeter:
    """Follows a messages stream."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.has_output = False
        self.has_ended = False
        self.is_usage_final = False
        self._message: Body = {}
        self._blocks: list[_Block] = []
        self._by_index: dict[int, _Block] = {}  # a new block under a used index is a block of its own
        self._open_blocks: set[int] = set()
        self._is_understood = True

    def feed(self, payload: Body) -> None:
        kind = payload.get("type")
        if reported := reported_usage(payload):
            self.usage = merged(self.usage or {}, reported)
            # what the start says of the output is of the start
            self.is_usage_final |= kind != "message_start" and not is_empty(reported.get("output_tokens"))
        if kind == "content_block_delta":
            self.has_output = True
            delta = payload["delta"]
            block = self._by_index.get(payload["index"])
            if block is None:  # one that never began: its first delta says of what kind it is
                self._is_understood = False
                block = self._begin(payload["index"], _empty_block(delta))
            block.feed(delta)
        elif kind == "content_block_stop":
            self._open_blocks.discard(payload["index"])
        elif kind == "content_block_start":
            self._open_blocks.add(payload["index"])
            self._begin(payload["index"], payload["content_block"])
            self.has_output = self.has_output or _is_output(payload["content_block"])
        elif kind == "message_start":
            self._message = {**payload["message"]}
            for index, content in enumerate(self._message.get("content") or ()):
                self._begin(index, content)
        elif kind == "message_delta":
            self._message.update(payload.get("delta") or {})
            self.finish_reason = self._message.get("stop_reason") or self.finish_reason
            self.has_ended = self.has_ended or self.finish_reason is not None
        elif kind == "message_stop":
            self.has_ended = True
            if is_empty(self.usage):
                self.usage = None  # the protocol has no way to leave usage out: some servers say zero instead

    @property
    def is_exact(self) -> bool:
        return self._is_understood and all(block.is_exact for block in self._blocks)

    def end(self) -> None:
        self.has_ended = bool(self._message)

    def text(self) -> str:
        return "".join(block.everything() for block in self._blocks)

    def response(self) -> Body:
        blocks = self._blocks
        if len(self._by_index) == len(blocks):
            blocks = [self._by_index[index] for index in sorted(self._by_index)]
        content = [block.to_json() for block in blocks]
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

    def _begin(self, index: int, start: Body) -> "_Block":
        block = self._by_index[index] = _Block(start)
        self._blocks.append(block)
        return block


class _Block:
    """One content block of a stream, put together."""

    __slots__ = ("_citations", "_is_understood", "_pieces", "_start", "signature")

    def __init__(self, start: Body) -> None:
        self._start = start
        self._pieces: list[str] = []
        self._citations: list[Any] = []
        self._is_understood = True
        self.signature = ""

    @property
    def is_exact(self) -> bool:
        """Whether its pieces were understood, and fit together."""
        pieces = "".join(self._pieces)
        if not self._is_understood or not pieces or self._start.get("type") in ("text", "thinking"):
            return self._is_understood
        begun = self._start.get("input")
        given = input_of(pieces)
        return isinstance(given, dict) and begun in (None, {}, given)

    def feed(self, delta: Body) -> None:
        kind = delta.get("type", "")
        if kind in _TEXT_DELTAS:
            self._pieces.append(delta.get(_TEXT_DELTAS[kind]) or "")
            self._is_understood = self._is_understood and self._start.get("type") in _BLOCKS_OF[kind]
        elif kind == "signature_delta":
            self.signature = delta.get("signature") or ""
        elif kind == "citations_delta":
            self._citations.append(delta.get("citation"))
        else:
            self._is_understood = False

    def everything(self) -> str:
        return block_text({**self._start, "input": None}) + "".join(self._pieces)

    def to_json(self) -> Body:
        block = {**self._start}
        kind = block.get("type")
        pieces = "".join(self._pieces)
        if kind in ("text", "thinking"):
            block[kind] = (block.get(kind) or "") + pieces
        elif pieces:
            given = input_of(pieces)
            # cut off in the middle: the stop reason says so
            block["input"] = given if given is not None else {}
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
            earlier = self._held.pop(payload["type"], b"")  # usage may come more than once
            self._held[payload["type"]] = raw
            return earlier
        return raw

    def close(self, block: Body) -> bytes:
        self._held.setdefault("message_stop", encode({"type": "message_stop"}, event="message_stop"))
        return b"".join(splice_purser(raw, block) for raw in self._held.values())


def replay(response: Body, block: Body, *, wants_usage: bool) -> Iterator[bytes]:
    """Send a stored answer as a stream; every content block as one delta."""
    for payload in events_of(response):
        facts = {"purser": block} if payload["type"] in ("message_delta", "message_stop") else {}
        yield encode({**payload, **facts}, event=payload["type"])


def events_of(response: Body) -> Iterator[Body]:
    """The events of a stream of this answer."""
    usage = response.get("usage") or {}
    start = {
        **response,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 0},
    }
    yield {"type": "message_start", "message": start}
    for index, content in enumerate(response.get("content") or ()):
        empty, deltas = _opened(content)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": response.get("stop_reason"), "stop_sequence": response.get("stop_sequence")}
    yield {"type": "message_delta", "delta": end, "usage": usage}
    yield {"type": "message_stop"}


def block_text(block: Body) -> str:
    """The text of a content block that counts as output."""
    texts = (block.get(name) for name in ("text", "thinking", "name"))
    text = next((one for one in texts if isinstance(one, str) and one), "")
    return text if block.get("input") is None else text + orjson.dumps(block["input"]).decode()


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


def input_of(json: str) -> Any:
    """The input of a tool as its pieces say it; None if they are no JSON."""
    try:
        return orjson.loads(json)
    except orjson.JSONDecodeError:
        return None


def _is_output(start: Body) -> bool:
    """Whether a block says something by having begun."""
    kind = start.get("type")
    return kind not in ("text", "thinking") or bool(start.get(kind))


def _empty_block(delta: Body) -> Body:
    """A block that this delta could have begun."""
    if delta.get("type") == "thinking_delta":
        return {"type": "thinking", "thinking": ""}
    return {"type": "text", "text": ""}
