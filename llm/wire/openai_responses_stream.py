"""OpenAI response streams: measured, passed on, replayed.

Invariant: the last event carries the whole response; until it came, the response is put together from what
did.
"""

from collections.abc import Iterator
from typing import Any

from billing.usage.reading import merged, reported_usage
from llm.wire.formats import Body
from llm.wire.texts.sse import data_of, encode

LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponsesMeter:
    """Follows a responses stream."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.is_usage_final = True
        self.finish_reason: str | None = None
        self.has_output = False
        self.has_ended = False
        self._response: Body = {}
        self._items: dict[int, Body] = {}
        self._pieces: list[str] = []
        self._open_texts: dict[int, list[str]] = {}  # by the place of an item that is not done yet
        self._sequence_number = -1
        self._is_in_events = False  # in its events, though the last one has none of it

    def feed(self, payload: Body) -> None:
        kind = payload.get("type", "")
        self._sequence_number = payload.get("sequence_number", self._sequence_number)
        if kind.endswith(".delta"):
            delta = payload.get("delta")
            if isinstance(delta, str) and "audio" not in kind:
                self._pieces.append(delta)
                if payload.get("output_index") in self._open_texts:
                    self._open_texts[payload["output_index"]].append(delta)
            self.has_output = True
        elif kind in ("response.output_item.added", "response.output_item.done"):
            item = payload.get("item") or {}
            place = payload.get("output_index", len(self._items))
            self._items[place] = item
            if kind.endswith("added"):
                self._open_texts[place] = []
            else:
                self._open_texts.pop(place, None)
            if kind.endswith("added") and isinstance(item.get("name"), str):
                self._pieces.append(item["name"])
        elif isinstance(payload.get("response"), dict):
            self._response = payload["response"]
            if reported := reported_usage(payload):
                self.usage = merged(self.usage or {}, reported)
            if kind in LAST_EVENTS:
                self.has_ended = True
                self._is_in_events = bool(self._items) and not self._response.get("output")
                self.finish_reason = self._response.get("status") or kind.removeprefix("response.")

    @property
    def is_exact(self) -> bool:
        """The last event has the whole response; where it has none of it, each item must have come to its end."""
        return not self._is_in_events or not self._open_texts

    def end(self) -> None:
        """The end mark is none of this protocol's: only its last event ends a response."""

    def text(self) -> str:
        return "".join(self._pieces)

    def response(self) -> Body:
        if self.has_ended and not self._is_in_events:
            return self._response
        if self.has_ended:
            return {**self._response, "output": self._output()}
        output = [self._items[index] for index in sorted(self._items)]
        return {**self._response, "status": "incomplete", "output": output}

    def _output(self) -> list[Body]:
        """The items as their events gave them."""
        items = dict(self._items)
        for place, pieces in self._open_texts.items():
            if pieces:
                items[place] = {**_cut_item(items[place], "".join(pieces)), "status": "completed"}
        return [items[place] for place in sorted(items)]

    def cut_short(self, *, input_tokens: int, output_tokens: int) -> list[Body]:
        events: list[Body] = []
        output = dict(self._items)
        for place, pieces in sorted(self._open_texts.items()):
            output[place] = _cut_item(output[place], "".join(pieces))
            events += _item_ends(output[place], output_index=place)
        response = {
            **self._response,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [output[place] for place in sorted(output)],
            "usage": {
                "input_tokens": input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": input_tokens + output_tokens,
            },
        }
        events.append({"type": "response.incomplete", "response": response})
        return [
            {**event, "sequence_number": number}
            for number, event in enumerate(events, self._sequence_number + 1)
        ]


class ResponsesTail:
    """Passes events on; the last one waits for our facts, which go into its response and next to it."""

    def __init__(self) -> None:
        self._last: Body = {}

    def feed(self, raw: bytes, payload: Body | None) -> bytes:
        if payload is not None and payload.get("type") in LAST_EVENTS:
            self._last = payload
            return b""
        return b"" if payload is None and data_of(raw) == b"[DONE]" else raw

    def close(self, block: Body) -> bytes:
        return finished(self._last, block) if self._last else b""


def finished(event: Body, block: Body) -> bytes:
    """Write a stream's last event with our facts in it."""
    response = {**event["response"], "purser": block}
    return encode({**event, "response": response, "purser": block}, event=event["type"])


def replay(response: Body, block: Body, *, wants_usage: bool) -> Iterator[bytes]:
    """Send a stored response as a stream, every part of its output as one delta."""
    events = [*events_of(response)]
    for event in events[:-1]:
        yield encode(event, event=event["type"])
    yield finished(events[-1], block)


def events_of(response: Body) -> Iterator[Body]:
    """The events of a stream of this response."""
    for number, event in enumerate(_unnumbered_events(response)):
        yield {**event, "sequence_number": number}


def output_text(response: Body) -> str:
    """The text of all messages of a response."""
    return "".join(
        part.get("text") or ""
        for item in response.get("output") or ()
        if item.get("type") == "message"
        for part in item.get("content") or ()
        if part.get("type") == "output_text"
    )


def _unnumbered_events(response: Body) -> Iterator[Body]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response.get("output") or ()):
        yield from item_events(item, output_index=index)
    status = response.get("status")
    kind = f"response.{status}" if f"response.{status}" in LAST_EVENTS else "response.completed"
    yield {"type": kind, "response": response}


def item_events(item: Body, *, output_index: int) -> Iterator[Body]:
    """The events of one whole output item."""
    place = {"item_id": item.get("id", ""), "output_index": output_index}
    opened = {**item, "status": "in_progress"} if "status" in item else item
    if item.get("type") == "message":
        yield {
            "type": "response.output_item.added",
            "output_index": output_index,
            "item": {**opened, "content": []},
        }
        for number, part in enumerate(item.get("content") or ()):
            yield from _part_events(part, {**place, "content_index": number})
    elif item.get("type") == "function_call":
        yield {
            "type": "response.output_item.added",
            "output_index": output_index,
            "item": {**opened, "arguments": ""},
        }
        arguments = item.get("arguments", "")
        yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments}
        done = {"type": "response.function_call_arguments.done", **place, "arguments": arguments}
        yield {**done, "name": item.get("name", "")}
    else:
        yield {"type": "response.output_item.added", "output_index": output_index, "item": opened}
    yield {"type": "response.output_item.done", "output_index": output_index, "item": item}


def _part_events(part: Body, place: Body) -> Iterator[Body]:
    name = "refusal" if part.get("type") == "refusal" else "text"
    stem = "response.refusal" if name == "refusal" else "response.output_text"
    extra: Body = {} if name == "refusal" else {"logprobs": part.get("logprobs") or []}
    text = part.get(name) or ""
    empty = {**part, name: "", **({"annotations": []} if "annotations" in part else {})}
    yield {"type": "response.content_part.added", **place, "part": empty}
    yield {"type": f"{stem}.delta", **place, "delta": text, **extra}
    for number, annotation in enumerate(part.get("annotations") or ()):
        yield {
            "type": "response.output_text.annotation.added",
            **place,
            "annotation_index": number,
            "annotation": annotation,
        }
    yield {"type": f"{stem}.done", **place, name: text, **extra}
    yield {"type": "response.content_part.done", **place, "part": part}


def _cut_item(item: Body, text: str) -> Body:
    """An output item that breaks off after so much text."""
    if item.get("type") == "message":
        part = {"type": "output_text", "text": text, "annotations": []}
        return {**item, "status": "incomplete", "content": [part] if text else []}
    if item.get("type") == "function_call":
        return {**item, "status": "incomplete", "arguments": text}
    return {**item, "status": "incomplete"} if "status" in item else item


def _item_ends(item: Body, *, output_index: int) -> list[Body]:
    """The last events of an output item, without those that begin it or bring its text."""
    events = [*item_events(item, output_index=output_index)]
    return [event for event in events if event["type"].endswith(".done")]
