"""What a client of each protocol makes of an answer, whole or streamed, put together as a careful client does.

Invariant: pure. `strictly` is for what the product made itself: then the grammar of the protocol is checked, too.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

Event = dict[str, Any]
Called = tuple[str, Any]


@dataclass
class Heard:
    """An answer: its text, its thinking and the tools it calls; whether it came to its end; the error it ended with."""

    text: str = ""
    thinking: str = ""
    tools: list[Called] = field(default_factory=list)
    finish: str | None = None
    has_ended: bool = False
    error: Any = None
    purser: dict[str, Any] = field(default_factory=dict)

    def same(self) -> tuple[Any, ...]:
        """What a second client must get alike."""
        return self.text, self.thinking, self.tools


def heard(endpoint: str, content: bytes, *, is_stream: bool, strictly: bool = False) -> Heard:
    """Read an answer with status 200; raises AssertionError or ValueError where it is none."""
    if not is_stream:
        body = orjson.loads(content) if strictly else json.loads(content.decode("utf-8-sig", "replace"))
        assert isinstance(body, dict), body
        answer = _WHOLE[endpoint](body)
        answer.purser = body.get("purser") or {}
        answer.error = answer.error or body.get("error")
        return answer
    events = list(_events(content, strictly=strictly))
    answer = _STREAMED[endpoint](events, strictly)
    for event in events:
        answer.purser = event.get("purser") or answer.purser
    return answer


def _events(content: bytes, *, strictly: bool) -> Iterator[Event]:
    text = content.decode("utf-8-sig", "strict" if strictly else "replace")
    for block in re.split(r"(?:\r\n|\r|\n){2,}", text):
        lines = re.split(r"\r\n|\r|\n", block)
        data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
        named_error = "event: error" in lines or "event:error" in lines
        if data == "[DONE]":
            yield {"[DONE]": True}
        elif data:
            event = orjson.loads(data) if strictly else json.loads(data)
            assert isinstance(event, dict), event
            yield event if not named_error else {"error": event, **event}


def _text_of(content: Any) -> tuple[str, str]:
    """The text and the thinking of a chat's content."""
    if not isinstance(content, list):
        return content or "", ""
    text = thinking = ""
    for part in content:
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            thinking += inner if isinstance(inner, str) else _text_of(inner)[0]
        else:
            text += part.get("text") or ""
    return text, thinking


def _arguments(given: Any) -> Any:
    if isinstance(given, str) and given.strip():
        return json.loads(given)
    return given or {}


def _message_of_chat(message: Event, answer: Heard) -> None:
    text, thinking = _text_of(message.get("content"))
    answer.text += text or message.get("refusal") or ""
    answer.thinking += thinking or message.get("reasoning_content") or message.get("reasoning") or ""


def _whole_chat(body: Event) -> Heard:
    answer = Heard(has_ended=True)
    choices = body.get("choices") or []
    if choices:
        message = choices[0]["message"]
        _message_of_chat(message, answer)
        answer.finish = choices[0].get("finish_reason")
        for call in message.get("tool_calls") or []:
            answer.tools.append((call["function"]["name"], _arguments(call["function"].get("arguments"))))
    return answer


def _streamed_chat(events: list[Event], strictly: bool) -> Heard:
    answer = Heard()
    calls: list[dict[str, Any]] = []
    for event in events:
        answer.has_ended = answer.has_ended or "[DONE]" in event
        answer.error = (
            answer.error or event.get("error") or (event if event.get("object") == "error" else None)
        )
        for choice in event.get("choices") or []:
            delta = choice.get("delta") or {}
            _message_of_chat(delta, answer)
            answer.finish = choice.get("finish_reason") or answer.finish
            answer.error = answer.error or choice.get("error")
            for piece in delta.get("tool_calls") or []:
                _take_piece(calls, piece, strictly)
    if any(isinstance(call["index"], int) for call in calls):
        calls.sort(key=lambda call: call["index"])
    answer.tools = [(call["name"], _arguments(call["arguments"])) for call in calls]
    return answer


def _take_piece(calls: list[dict[str, Any]], piece: Event, strictly: bool) -> None:
    """A new id, or a new index, is a new call; what has neither belongs to the one last begun."""
    function = piece.get("function") or {}
    index, given = piece.get("index"), piece.get("id")
    known = next((call for call in reversed(calls) if given and call["id"] == given), None)
    if known is None and not given and index is not None:
        known = next((call for call in reversed(calls) if call["index"] == index), None)
    elif known is None and not given and calls:
        known = calls[-1]
    if known is None:
        assert not strictly or (given and function.get("name")), piece
        known = {"id": given, "index": index, "name": function.get("name"), "arguments": ""}
        assert not strictly or index == len(calls), piece
        calls.append(known)
    arguments = function.get("arguments")
    known["arguments"] = (
        known["arguments"] + arguments if isinstance(arguments, str) else arguments or known["arguments"]
    )


def _block(block: Event, answer: Heard) -> None:
    if block.get("type") == "text":
        answer.text += block.get("text") or ""
    elif block.get("type") == "thinking":
        answer.thinking += block.get("thinking") or ""
    elif block.get("type") == "tool_use":
        answer.tools.append((block["name"], block["input"]))


def _whole_message(body: Event) -> Heard:
    answer = Heard(has_ended=True, finish=body.get("stop_reason"))
    content = body.get("content") or []
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        _block(block, answer)
    return answer


def _streamed_message(events: list[Event], strictly: bool) -> Heard:
    answer, blocks, open_blocks = Heard(), dict[int, Event](), set[int]()
    kinds = [event.get("type") for event in events if event.get("type") not in ("ping", None)]
    for event in events:
        kind, index = event.get("type"), event.get("index", 0)
        answer.error = answer.error or event.get("error")
        if kind == "content_block_start":
            assert not strictly or (not open_blocks and index == len(blocks)), event
            blocks[index] = dict(event["content_block"], pieces="")
            open_blocks.add(index)
        elif kind == "content_block_delta":
            assert not strictly or index in open_blocks, event
            delta = event["delta"]
            for name, where in (("text", "text"), ("thinking", "thinking"), ("partial_json", "pieces")):
                if name in delta:
                    blocks[index][where] = (blocks[index].get(where) or "") + delta[name]
        elif kind == "content_block_stop":
            open_blocks.discard(index)
        elif kind == "message_delta":
            answer.finish = event["delta"].get("stop_reason") or answer.finish
        elif kind == "message_stop":
            answer.has_ended = True
    for _, block in sorted(blocks.items()):
        if block.get("type") == "tool_use":
            block["input"] = _arguments(block["pieces"]) or block.get("input")
        _block(block, answer)
    if strictly and not answer.error:
        assert kinds[0] == "message_start", kinds
        assert events[[event.get("type") for event in events].index("message_start")]["message"]["id"], (
            events[0]
        )
        assert kinds[-2:] == ["message_delta", "message_stop"], kinds
        assert not open_blocks
    return answer


def _whole_response(body: Event) -> Heard:
    answer = Heard(has_ended=True, finish=body.get("status"), error=body.get("error"))
    for item in body.get("output") or []:
        if item["type"] == "message":
            answer.text += "".join(part.get("text") or "" for part in item["content"])
        elif item["type"] == "function_call":
            answer.tools.append((item["name"], _arguments(item["arguments"])))
        elif item["type"] == "reasoning":
            answer.thinking += "".join(part.get("text") or "" for part in item.get("summary") or [])
    return answer


def _streamed_response(events: list[Event], strictly: bool) -> Heard:
    text, final, error = "", None, None
    done: dict[int, Event] = {}
    for event in events:
        kind = event.get("type", "")
        if kind == "response.output_text.delta":
            text += event["delta"]
        elif kind == "response.output_item.done":
            done[event["output_index"]] = event["item"]
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            final = event["response"]
        if kind in ("error", "response.failed") or event.get("error"):
            error = event
    answer = _whole_response({**(final or {}), "output": [done[index] for index in sorted(done)]})
    if strictly and final is not None and not error:
        assert next(event["type"] for event in events if "type" in event) == "response.created", events[0]
        assert _whole_response(final).same() == answer.same(), final
    answer.text = answer.text or text
    answer.has_ended, answer.error = final is not None, error
    return answer


_WHOLE = {"chat": _whole_chat, "messages": _whole_message, "responses": _whole_response}
_STREAMED = {"chat": _streamed_chat, "messages": _streamed_message, "responses": _streamed_response}
