"""Each wire format: its facts, its limits, its meters and its replays."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import InvalidRequest
from llm.providers.kinds import KINDS
from llm.wire import WIRE_FORMATS, prepare
from llm.wire.error_bodies import error_in
from llm.wire.texts.sse import DONE, SseSplitter, data_of

CHAT = WIRE_FORMATS["openai_chat"]
MESSAGES = WIRE_FORMATS["anthropic_messages"]
RESPONSES = WIRE_FORMATS["openai_responses"]
EMBEDDINGS = WIRE_FORMATS["openai_embeddings"]
COMPLETIONS = WIRE_FORMATS["openai_completions"]

words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
pieces = st.lists(words.filter(bool), min_size=1, max_size=6)
names = st.text(alphabet="abcdefgh_", min_size=1, max_size=8)


def payloads(events: Iterator[bytes]) -> list[dict[str, Any]]:
    stream = b"".join(events)
    return [orjson.loads(data_of(event)) for event in SseSplitter().feed(stream) if event != DONE]


def test_it_works() -> None:
    facts = CHAT.facts(
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}],
                },
            ],
            "max_tokens": 7,
            "stream": True,
            "user": "alice",
            "tools": [{}],
            "response_format": {"type": "json_object"},
        }
    )
    assert (facts.system, facts.last_user_text, facts.user) == ("Be kind.", "Hi", "alice")
    assert (facts.max_output_tokens, facts.stream, facts.wants_usage) == (7, True, False)
    assert facts.has_tools
    assert facts.has_images
    assert facts.wants_json


def test_facts_of_the_other_formats() -> None:
    tool_result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "18"}]}
    facts = MESSAGES.facts(
        {
            "model": "m",
            "max_tokens": 5,
            "system": [{"type": "text", "text": "S"}],
            "messages": [{"role": "user", "content": "Ask"}, {"role": "user", "content": [tool_result]}],
            "metadata": {"user_id": "bob"},
        }
    )
    assert (facts.system, facts.last_user_text, facts.user, facts.texts) == (
        "S",
        "Ask",
        "bob",
        ("S", "Ask", "18"),
    )
    facts = RESPONSES.facts({"model": "m", "input": "Ask", "instructions": "S", "max_output_tokens": 9})
    assert (facts.system, facts.last_user_text, facts.max_output_tokens) == ("S", "Ask", 9)
    assert EMBEDDINGS.facts({"model": "m", "input": ["a", "b"]}).texts == ("a", "b")
    assert COMPLETIONS.facts({"model": "m", "prompt": ["a", "b"], "n": 3}).n == 6


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{}]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["hi"]}, "messages[0]"),
        ({"model": "m", "messages": [{}], "stream": "yes"}, "stream"),
        ({"model": "m", "messages": [{}], "max_tokens": -1}, "max_tokens"),
        ({"model": "m", "messages": [{}], "n": True}, "n"),
        ({"model": "m", "messages": [{}], "temperature": "hot"}, "temperature"),
        ({"model": "m", "messages": [{}], "stream_options": []}, "stream_options"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.facts(body)
    assert caught.value.param == param


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "content", "role"]), inner)
    ),
    max_leaves=6,
)
body_fields = [
    "model",
    "messages",
    "input",
    "prompt",
    "tools",
    "system",
    "stream",
    "metadata",
    "text",
    "n",
    "instructions",
]


@given(st.dictionaries(st.sampled_from(body_fields), json_values), st.sampled_from(sorted(WIRE_FORMATS)))
def test_any_body_is_read_or_refused(body: dict[str, Any], name: str) -> None:
    with suppress(InvalidRequest):
        WIRE_FORMATS[name].facts(body)


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("gpt-4o", {}, {"max_tokens": 5}),
        ("gpt-4o", {"max_tokens": 9}, {"max_tokens": 5}),
        ("gpt-4o", {"max_completion_tokens": 9}, {"max_completion_tokens": 5}),
        ("o3-mini", {"max_tokens": 9}, {"max_completion_tokens": 5}),
        ("gpt-5-nano", {}, {"max_completion_tokens": 5}),
        ("openai/gpt-5.4", {}, {"max_completion_tokens": 5}),
        ("gpt-oss-120b", {}, {"max_tokens": 5}),
        ("olmo-2", {}, {"max_tokens": 5}),
    ],
)
def test_the_limit_stands_in_the_field_the_model_takes(
    model: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert CHAT.with_max_tokens({"model": model, **body}, 5) == {"model": model, **expected}


def test_a_body_that_needs_no_change_is_the_same_object() -> None:
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "x_new": {"a": [1]},
    }
    exchange = prepare(CHAT, body, kind=KINDS["openai"], upstream_model="gpt-4o", max_output_tokens=5)
    assert exchange.body is body


def test_usage_is_asked_for_in_streams_and_other_options_stay() -> None:
    body = {"stream": True, "stream_options": {"include_obfuscation": False}}
    asked = CHAT.with_usage_in_stream(body)
    assert asked["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert body["stream_options"] == {"include_obfuscation": False}
    assert CHAT.with_usage_in_stream({"model": "m"}) == {"model": "m"}


@st.composite
def chat_answers(draw: st.DrawFn) -> dict[str, Any]:
    choices = []
    for index in range(draw(st.integers(1, 3))):
        message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | words), "refusal": None}
        calls = draw(st.lists(st.tuples(names, st.dictionaries(names, words, max_size=2)), max_size=2))
        if calls:
            message["content"] = message["content"] or None  # an empty text beside calls is no text
            message["tool_calls"] = [
                {
                    "id": f"call_{n}",
                    "type": "function",
                    "function": {"name": name, "arguments": orjson.dumps(args).decode()},
                }
                for n, (name, args) in enumerate(calls)
            ]
        finish = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": finish})
    usage = draw(st.none() | st.just({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}))
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage or {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


@st.composite
def message_answers(draw: st.DrawFn) -> dict[str, Any]:
    text = st.builds(lambda text: {"type": "text", "text": text}, words)
    thinking = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "sig"}, words)
    tool = st.builds(
        lambda name, args: {"type": "tool_use", "id": "t", "name": name, "input": args},
        names,
        st.dictionaries(names, words, max_size=3),
    )
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": draw(st.lists(text | thinking | tool, max_size=5)),
        "stop_reason": draw(st.sampled_from(["end_turn", "max_tokens", "tool_use"])),
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": draw(st.integers(1, 9)), "cache_read_input_tokens": 2},
    }


@st.composite
def response_answers(draw: st.DrawFn) -> dict[str, Any]:
    text = st.builds(
        lambda text: {"type": "output_text", "text": text, "annotations": [], "logprobs": []}, words
    )
    message = st.builds(
        lambda content: {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": content,
        },
        st.lists(text, min_size=1, max_size=2),
    )
    call = st.builds(
        lambda name, args: {
            "id": "fc",
            "type": "function_call",
            "status": "completed",
            "call_id": "c",
            "name": name,
            "arguments": args,
        },
        names,
        words,
    )
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "status": draw(st.sampled_from(["completed", "incomplete"])),
        "model": "m",
        "output": draw(st.lists(message | call, max_size=3)),
        "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
    }


@st.composite
def completion_answers(draw: st.DrawFn) -> dict[str, Any]:
    choices = [
        {"index": index, "text": draw(words), "finish_reason": "stop", "logprobs": None}
        for index in range(draw(st.integers(1, 3)))
    ]
    return {
        "id": "c",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": {"prompt_tokens": 1},
    }


answers = st.one_of(
    st.tuples(st.just(CHAT), chat_answers()),
    st.tuples(st.just(MESSAGES), message_answers()),
    st.tuples(st.just(RESPONSES), response_answers()),
    st.tuples(st.just(COMPLETIONS), completion_answers()),
)


@given(answers)
def test_an_answer_replayed_and_metered_is_the_answer(told: tuple[Any, dict[str, Any]]) -> None:
    wire, answer = told
    meter = wire.meter()
    replayed = payloads(wire.replay(answer, {"cost": "0"}, wants_usage=True))
    assert replayed[-1]["purser"] == {"cost": "0"}
    for payload in replayed:
        assert error_in(payload) is None
        meter.feed(payload)
    assert meter.has_ended
    assert meter.usage == answer["usage"]
    metered = meter.response()
    metered.pop("purser", None)
    assert metered == answer
    assert wire.answer_text(metered) == wire.answer_text(answer)
    assert wire.is_complete(metered) == wire.is_complete(answer)
    assert sorted(meter.text()) == sorted(wire.produced_text(answer))


@given(answers, st.data())
def test_the_meter_never_reads_ahead(told: tuple[Any, dict[str, Any]], data: st.DataObject) -> None:
    wire, answer = told
    meter = wire.meter()
    replayed = payloads(wire.replay(answer, {}, wants_usage=True))
    texts = [""]
    for payload in replayed[: data.draw(st.integers(0, len(replayed)))]:
        meter.feed(payload)
        texts.append(meter.text())
        meter.response()
    assert all(len(later) >= len(earlier) for earlier, later in pairwise(texts))


@given(pieces)
def test_text_so_far_is_what_a_broken_stream_is_billed_for(told: list[str]) -> None:
    meter = CHAT.meter()
    for piece in told:
        meter.feed({"choices": [{"index": 0, "delta": {"content": piece}}]})
    assert meter.text() == "".join(told)
    assert not meter.has_ended
    assert meter.has_output


def test_usage_in_a_stream_is_overwritten_never_added() -> None:
    meter = MESSAGES.meter()
    usage = {"input_tokens": 25, "output_tokens": 1, "cache_read_input_tokens": 7, "service_tier": "standard"}
    meter.feed({"type": "message_start", "message": {"id": "m", "usage": usage}})
    meter.feed({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 15}})
    meter.feed(
        {
            "type": "message_delta",
            "delta": {},
            "usage": {"output_tokens": 30, "cache_read_input_tokens": None},
        }
    )
    assert meter.usage == {**usage, "output_tokens": 30}


def test_the_last_usage_that_is_not_null_counts() -> None:
    meter = CHAT.meter()
    for usage in (None, {"completion_tokens": 1}, {"completion_tokens": 2}, None):
        meter.feed({"choices": [], "usage": usage})
    assert meter.usage == {"completion_tokens": 2}


def test_a_truncated_response_knows_what_came() -> None:
    meter = RESPONSES.meter()
    meter.feed({"type": "response.created", "response": {"id": "r", "status": "in_progress"}})
    meter.feed({"type": "response.output_text.delta", "delta": "Hel"})
    meter.feed({"type": "response.output_text.delta", "delta": "lo"})
    assert meter.text() == "Hello"
    assert meter.response()["status"] == "incomplete"


def test_tools_that_bill_per_call_are_counted() -> None:
    output = [{"type": "web_search_call"}, {"type": "web_search_call"}, {"type": "message"}]
    assert RESPONSES.usage_context({"service_tier": "flex", "output": output}) == {
        "service_tier": "flex",
        "tool_calls": {"web_search": 2},
    }


@given(st.lists(st.sampled_from(["text", "finish", "usage", "comment", "done"]), max_size=8), st.booleans())
def test_the_tail_of_a_chat_stream_loses_nothing_but_the_hidden_usage(
    told: list[str], wants_usage: bool
) -> None:
    tail = CHAT.tail(wants_usage=wants_usage)
    chunks = {
        "text": {"choices": [{"index": 0, "delta": {"content": "x"}}]},
        "finish": {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        "usage": {"choices": [], "usage": {}},
    }
    raws = {name: CHAT.encode_event(chunk) for name, chunk in chunks.items()}
    raws |= {"comment": b": ping\n\n", "done": DONE}
    out = b"".join(tail.feed(raws[name], chunks.get(name)) for name in told) + tail.close({})
    events = SseSplitter().feed(out)
    assert events[-1] == DONE
    assert b'"purser":{}' in events[-2]
    kept = [name for name in told if name != "done" and (wants_usage or name != "usage")]
    found = [event.replace(b',"purser":{}', b"") for event in events[:-1]]
    comments = [name for name in kept if name == "comment"]
    assert [event for event in found if event in raws.values() and event != raws["comment"]] == [
        raws[name] for name in kept if name != "comment"
    ]
    assert found.count(raws["comment"]) == len(comments)
