"""Chat completions as responses, whole and streamed.

Invariant: the last event of a stream carries the response that the same answer would have been whole.
"""

import time
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

from billing.usage.reading import merged, reported_usage, totals_of
from llm.wire.formats import Body
from llm.wire.texts.message_texts import reasoning_of, text_of
from llm.wire.tool_calls import CallQueue, Step

_ECHOED: Final[Body] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_PREFIXES: Final = {"reasoning": "rs", "call": "fc"}  # of the items' ids
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def responses_answer(completion: Body, *, request: Body) -> Body:
    """The response of a chat completion."""
    choice = (completion.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    reason = _INCOMPLETE.get(choice.get("finish_reason") or "")
    status = "incomplete" if reason else "completed"
    identity = _response_id(completion)
    output: list[Body] = []
    if reasoning := reasoning_of(message):
        output.append(_reasoning_item(_item_id("rs", identity, len(output)), reasoning))
    if parts := _parts(message):
        output.append(_message_item(_item_id("msg", identity, len(output)), parts, status="completed"))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        own_id = _item_id("fc", identity, len(output))
        output.append(_call_item(own_id, call.get("id"), function["name"], function["arguments"]))
    if output and "status" in output[-1]:
        output[-1]["status"] = status  # what was cut off is the last thing it said
    response = _response(request, identity=identity, model=completion.get("model", ""))
    return {
        **response,
        **_ending(reason),
        "output": output,
        "usage": responses_usage(reported_usage(completion)),
    }


def responses_usage(usage: Body) -> Body:
    """Chat usage in the shape of responses."""
    totals = totals_of("openai.chat", usage)
    input_tokens = totals.plain_input + totals.cache_read + totals.cache_write
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {
            "cached_tokens": totals.cache_read,
            "cache_write_tokens": totals.cache_write,
        },
        "output_tokens": totals.output,
        "output_tokens_details": {"reasoning_tokens": totals.reasoning},
        "total_tokens": input_tokens + totals.output,
    }


class ResponsesAnswerStream:
    """Turns chat chunks into the events of a response."""

    def __init__(self, request: Body) -> None:
        self._request = request
        self._response: Body = {}
        self._output: list[Body] = []
        self._item: _Item | None = None
        self._reason: str | None = None
        self._usage: Body = {}
        self._calls = CallQueue()
        self._number = 0

    def feed(self, payload: Body) -> list[Body]:
        events: list[Body] = []
        if not self._response:
            self._response = _response(
                self._request, identity=_response_id(payload), model=payload.get("model", "")
            )
            events.append({"type": "response.created", "response": self._response})
            events.append({"type": "response.in_progress", "response": self._response})
        self._usage = merged(self._usage, reported_usage(payload))
        for choice in payload.get("choices") or ():
            events += self._delta(choice.get("delta") or {})
            self._reason = choice.get("finish_reason") or self._reason
        return self._numbered(events)

    def end(self) -> list[Body]:
        reason = _INCOMPLETE.get(self._reason or "")
        events = self._call_events(self._calls.finish())
        events += self._close(status="incomplete" if reason else "completed")
        response = {
            **self._response,
            **_ending(reason),
            "output": self._output,
            "usage": responses_usage(self._usage),
        }
        events.append({"type": f"response.{response['status']}", "response": response})
        return self._numbered(events)

    def _delta(self, delta: Body) -> list[Body]:
        events: list[Body] = []
        if reasoning := reasoning_of(delta):
            events += self._open("reasoning") + self._piece(reasoning)
        if text := text_of(delta):
            events += self._open("text") + self._piece(text)
        if refusal := delta.get("refusal"):
            events += self._open("refusal") + self._piece(refusal)
        for call in delta.get("tool_calls") or ():
            events += self._call_events(self._calls.take(call))
        return events

    def _call_events(self, steps: Iterable[Step]) -> list[Body]:
        events: list[Body] = []
        for kind, call, piece in steps:
            if kind == "begin":
                events += self._open("call", call_id=call.id, name=call.name)
            else:
                events += self._piece(piece)
        return events

    def _open(self, kind: str, *, call_id: str = "", name: str = "") -> list[Body]:
        if kind != "call":
            if self._item and self._item.kind == kind:
                return []
            events = self._call_events(self._calls.finish())
            self._calls.is_first_sent = True
        else:
            events = []
        events += self._close()
        own_id = _item_id(_PREFIXES.get(kind, "msg"), self._response["id"], len(self._output))
        self._item = _Item(kind, len(self._output), own_id=own_id, call_id=call_id, name=name)
        return events + self._item.opened()

    def _piece(self, piece: str) -> list[Body]:
        return self._item.piece(piece) if self._item else []

    def _close(self, *, status: str = "completed") -> list[Body]:
        if self._item is None:
            return []
        item, self._item = self._item, None
        whole = item.whole(status=status)
        self._output.append(whole)
        return item.closed(whole)

    def _numbered(self, events: list[Body]) -> list[Body]:
        numbered = [{**event, "sequence_number": self._number + index} for index, event in enumerate(events)]
        self._number += len(events)
        return numbered


class _Item:
    """One output item while it is sent."""

    def __init__(self, kind: str, output_index: int, *, own_id: str, call_id: str, name: str) -> None:
        self.kind = kind
        self.call_id = call_id
        self._name = name
        self._id = own_id
        self._pieces: list[str] = []
        self._index = output_index
        self._at: Body = {"item_id": self._id, "output_index": output_index}

    def opened(self) -> list[Body]:
        item = {**self.whole(status="in_progress")}
        if self.kind == "reasoning":
            item["summary"] = []
            at = {**self._at, "summary_index": 0}
            part: Body = {"type": "response.reasoning_summary_part.added", **at, "part": _summary("")}
        elif self.kind == "call":
            return [{"type": "response.output_item.added", "output_index": self._index, "item": item}]
        else:
            item["content"] = []
            at = {**self._at, "content_index": 0}
            part = {"type": "response.content_part.added", **at, "part": _part(self.kind, "")}
        return [{"type": "response.output_item.added", "output_index": self._index, "item": item}, part]

    def piece(self, piece: str) -> list[Body]:
        self._pieces.append(piece)
        if self.kind == "reasoning":
            at = {**self._at, "summary_index": 0}
            return [{"type": "response.reasoning_summary_text.delta", **at, "delta": piece}]
        if self.kind == "call":
            return [{"type": "response.function_call_arguments.delta", **self._at, "delta": piece}]
        at = {**self._at, "content_index": 0}
        if self.kind == "refusal":
            return [{"type": "response.refusal.delta", **at, "delta": piece}]
        return [{"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}]

    def closed(self, whole: Body) -> list[Body]:
        text = "".join(self._pieces)
        done = {"type": "response.output_item.done", "output_index": self._index, "item": whole}
        if self.kind == "reasoning":
            at = {**self._at, "summary_index": 0}
            return [
                {"type": "response.reasoning_summary_text.done", **at, "text": text},
                {"type": "response.reasoning_summary_part.done", **at, "part": _summary(text)},
                done,
            ]
        if self.kind == "call":
            arguments = {"name": self._name, "arguments": whole["arguments"]}
            return [{"type": "response.function_call_arguments.done", **self._at, **arguments}, done]
        at = {**self._at, "content_index": 0}
        if self.kind == "refusal":
            text_done: Body = {"type": "response.refusal.done", **at, "refusal": text}
        else:
            text_done = {"type": "response.output_text.done", **at, "text": text, "logprobs": []}
        return [text_done, {"type": "response.content_part.done", **at, "part": _part(self.kind, text)}, done]

    def whole(self, *, status: str) -> Body:
        text = "".join(self._pieces)
        if self.kind == "reasoning":
            return _reasoning_item(self._id, text)
        if self.kind == "call":
            return _call_item(self._id, self.call_id, self._name, text, status=status)
        return _message_item(self._id, [_part(self.kind, text)], status=status)


def _response(request: Body, *, identity: str, model: str) -> Body:
    echoed = {
        name: default if request.get(name) is None else request[name] for name, default in _ECHOED.items()
    }
    tools = [_described(tool) for tool in request.get("tools") or ()]
    return {
        "id": identity,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "reasoning": {"effort": None, "summary": None, **(request.get("reasoning") or {})},
        "service_tier": "default",
        "store": False,
        "usage": None,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        **echoed,
        "tools": tools,
    }


def _described(tool: Body) -> Body:
    return (
        {"description": None, "parameters": None, "strict": None, **tool}
        if tool.get("type") == "function"
        else tool
    )


def _ending(reason: str | None) -> Body:
    if reason:
        return {"status": "incomplete", "incomplete_details": {"reason": reason}}
    return {"status": "completed", "completed_at": int(time.time())}


def _parts(message: Body) -> list[Body]:
    texts = (("text", message.get("content")), ("refusal", message.get("refusal")))
    return [_part(kind, text) for kind, text in texts if text]


def _part(kind: str, text: str) -> Body:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary(text: str) -> Body:
    return {"type": "summary_text", "text": text}


def _message_item(identity: str, content: list[Body], *, status: str) -> Body:
    return {"id": identity, "type": "message", "role": "assistant", "status": status, "content": content}


def _reasoning_item(identity: str, text: str) -> Body:
    return {"id": identity, "type": "reasoning", "summary": [_summary(text)]}


def _call_item(identity: str, call_id: Any, name: str, arguments: str, *, status: str = "completed") -> Body:
    return {
        "id": identity,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def _response_id(completion: Body) -> str:
    return "resp_" + (str(completion.get("id", "")).rpartition("_")[2] or uuid4().hex)


def _item_id(prefix: str, response_id: str, index: int) -> str:
    """The id of an item of a response: the same one each time the answer is sent, whole or as a stream."""
    return f"{prefix}_{sha256(f'{response_id}/{index}'.encode()).hexdigest()[:32]}"
