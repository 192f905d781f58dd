"""A translated stream tells what the translated answer tells, however it is cut into pieces."""

import random
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from llm.wire import Exchange
from llm.wire.texts.sse import DONE, SseSplitter, data_of
from tests.llm.wire.translating import CHAT, MESSAGES, RESPONSES, exchange

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
names = st.text(alphabet="abcdef_", min_size=1, max_size=6)
inputs = st.dictionaries(names, texts, max_size=2)


@st.composite
def claude_answers(draw: st.DrawFn) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content.append({"type": "thinking", "thinking": draw(texts), "signature": "sig"})
    if draw(st.booleans()):
        content.append({"type": "text", "text": draw(texts), "citations": []})
    for index, (name, given_input) in enumerate(draw(st.lists(st.tuples(names, inputs), max_size=3))):
        content.append(
            {
                "type": "tool_use",
                "id": f"t{index}",
                "name": name,
                "input": given_input,
                "caller": {"type": "direct"},
            }
        )
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": content or [{"type": "text", "text": "x", "citations": []}],
        "stop_reason": draw(
            st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence"])
        ),
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": draw(st.integers(1, 9))},
    }


def split(events: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """The same stream with its pieces of text cut further."""
    finer = []
    for event in events:
        delta = event.get("delta") or {}
        field = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}.get(
            delta.get("type", "")
        )
        if not field:
            finer.append(event)
            continue
        rest = delta[field]
        while rest:
            cut = chance.randint(1, len(rest))
            finer.append({**event, "delta": {**delta, field: rest[:cut]}})
            rest = rest[cut:]
    return finer


def streamed(exchange: Exchange, events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client puts together of a translated stream."""
    translator = exchange.translation.stream()
    meter = exchange.client.meter()
    for event in events:
        for told in translator.feed(event):
            meter.feed(told)
    for told in translator.end():
        meter.feed(told)
    assert meter.has_ended
    return meter.response()


def replayed(wire: Any, answer: dict[str, Any]) -> list[dict[str, Any]]:
    stream = b"".join(wire.replay(answer, {}, wants_usage=True))
    return [orjson.loads(data_of(event)) for event in SseSplitter().feed(stream) if event != DONE]


CHANGING = frozenset({"id", "created", "created_at", "completed_at", "item_id", "purser"})


def settled(value: Any) -> Any:
    """Without what differs from one telling to the next: ids we make and times."""
    if isinstance(value, dict):
        return {
            name: settled(item) for name, item in value.items() if name not in CHANGING and item is not None
        }
    return [settled(item) for item in value] if isinstance(value, list) else value


@given(claude_answers(), st.randoms(use_true_random=False), st.sampled_from([CHAT, RESPONSES]))
def test_a_claude_stream_translated_is_its_answer_translated(
    answer: dict[str, Any], chance: Any, wire: Any
) -> None:
    current = exchange(wire, "anthropic")
    whole = current.answer(answer)
    told = streamed(current, split(replayed(MESSAGES, answer), chance))
    assert settled(told) == settled(whole)


@given(claude_answers(), st.randoms(use_true_random=False))
def test_there_and_back_again(answer: dict[str, Any], chance: Any) -> None:
    """A Claude answer told to a chat client, and that told to an Anthropic client, is the Claude answer."""
    as_chat = exchange(CHAT, "anthropic").answer(answer)
    back = exchange(MESSAGES, "openai")
    whole = back.answer(as_chat)
    told = streamed(back, replayed(CHAT, as_chat))
    assert settled(told) == settled(whole)
    known = [block for block in answer["content"] if block["type"] != "thinking"]
    found = [block for block in whole["content"] if block["type"] != "thinking"]
    assert settled(found) == settled(known)
    calls_tools = any(block["type"] == "tool_use" for block in answer["content"])
    end = "tool_use" if calls_tools else "end_turn"  # whatever reason the server gives beside a call
    same = {"end_turn": end, "stop_sequence": end}
    assert whole["stop_reason"] == same.get(answer["stop_reason"], answer["stop_reason"])
    assert whole["usage"]["input_tokens"] == answer["usage"]["input_tokens"]
    assert whole["usage"]["cache_read_input_tokens"] == answer["usage"]["cache_read_input_tokens"]
