"""Usage blocks of the providers, and the contradictions in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import InvalidUsage
from billing.usage.reading import fees_of_items, meters_from_usage, reasoning_tokens, usage_of_stream

COUNT = st.integers(0, 10**7)


def test_it_works() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    assert meters_from_usage("openai.chat", usage) == {"input": 10, "output": 5}


@given(text=COUNT, cached=COUNT, written=COUNT, output=COUNT)
def test_openai_totals_include_their_parts(text: int, cached: int, written: int, output: int) -> None:
    usage = {
        "prompt_tokens": text + cached + written,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
    }
    meters = meters_from_usage("openai.chat", usage)
    assert sum(meters.values()) == text + cached + written + output
    assert meters.get("cache_read", 0) == cached
    assert meters.get("input", 0) == text


@given(plain=COUNT, read=COUNT, short=COUNT, long=COUNT, output=COUNT)
def test_anthropic_input_excludes_the_cache(
    plain: int, read: int, short: int, long: int, output: int
) -> None:
    usage = {
        "input_tokens": plain,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
    }
    meters = meters_from_usage("anthropic.messages", usage)
    assert sum(meters.values()) == plain + read + short + long + output
    assert meters.get("cache_write_1h", 0) == long


def test_realtime_bills_the_joint_class_once() -> None:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 300,
        "total_tokens": 1300,
        "input_token_details": {
            "cached_tokens": 500,
            "text_tokens": 400,
            "audio_tokens": 600,
            "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 300},
        },
        "output_token_details": {"text_tokens": 100, "audio_tokens": 200},
    }
    assert meters_from_usage("openai.realtime", usage) == {
        "input": 200,
        "cache_read": 200,
        "input_audio": 300,
        "cache_read_audio": 300,
        "output": 100,
        "output_audio": 200,
    }


@pytest.mark.parametrize(
    ("api", "usage"),
    [
        ("openai.chat", None),
        ("openai.chat", {}),
        ("openai.chat", {"completion_tokens": 5}),
        ("openai.chat", {"prompt_tokens": -1}),
        ("openai.chat", {"prompt_tokens": "ten"}),
        ("openai.chat", {"prompt_tokens": True}),
        ("openai.chat", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 12}),
        ("openai.chat", {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}}),
        (
            "openai.chat",
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        ),
        (
            "openai.chat",
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 4}},
        ),
        ("anthropic.messages", {"cache_read_input_tokens": 5}),
        (
            "anthropic.messages",
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_1h_input_tokens": 6},
            },
        ),
        (
            "anthropic.messages",
            {"input_tokens": 9, "output_tokens": 1, "iterations": [{"type": "message", "input_tokens": 1}]},
        ),
        ("cohere.chat", {"prompt_tokens": 10}),
    ],
)
def test_it_quarantines_what_contradicts_itself(api: str, usage: Any) -> None:
    with pytest.raises(InvalidUsage):
        meters_from_usage(api, usage)


def test_iterations_are_billed_each_under_its_model() -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 20,
        "iterations": [
            {"type": "message", "input_tokens": 100, "output_tokens": 20},
            {"type": "compaction", "input_tokens": 50, "output_tokens": 5},
            {"type": "advisor_message", "model": "big", "input_tokens": 7, "output_tokens": 3},
        ],
    }
    meters = meters_from_usage("anthropic.messages", usage, context={"model": "small"})
    assert meters == {"input": 150, "output": 25, "input@big": 7, "output@big": 3}


def test_a_stream_tells_its_usage_last() -> None:
    chunks = [
        {"usage": None},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 9}},
    ]
    assert usage_of_stream("openai.chat", chunks)["completion_tokens"] == 9
    completed = [
        {"type": "response.completed", "response": {"usage": {"input_tokens": 5, "output_tokens": 2}}}
    ]
    assert usage_of_stream("openai.responses", completed)["output_tokens"] == 2


def test_anthropic_deltas_replace_and_never_add() -> None:
    events = [
        {
            "type": "message_start",
            "message": {"usage": {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 7}},
        },
        {
            "type": "message_delta",
            "usage": {"input_tokens": 40, "output_tokens": 10, "cache_read_input_tokens": None},
        },
    ]
    assert usage_of_stream("anthropic.messages", events) == {
        "input_tokens": 40,
        "output_tokens": 10,
        "cache_read_input_tokens": 7,
    }


def test_a_stream_without_usage_says_so() -> None:
    with pytest.raises(InvalidUsage):
        usage_of_stream("openai.chat", [{"usage": None}])


def test_tools_that_cost_a_fee_are_counted() -> None:
    items = [
        {"type": "web_search_call"},
        {"type": "message"},
        {"type": "web_search_call"},
        {"type": "file_search_call"},
    ]
    assert fees_of_items(items) == {"web_search": 2, "file_search": 1}
    context = {"tool_calls": {"web_search_call": 2}}
    meters = meters_from_usage("openai.responses", {"input_tokens": 1, "output_tokens": 1}, context=context)
    assert meters["web_search"] == 2


def test_reasoning_is_told_and_costs_no_extra() -> None:
    assert reasoning_tokens({"completion_tokens_details": {"reasoning_tokens": 3}}) == 3
    assert reasoning_tokens({"output_tokens_details": {"thinking_tokens": 4}}) == 4
    assert reasoning_tokens(None) == 0
