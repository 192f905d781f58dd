"""Usage as other servers tell it: in other names and places, beside the totals, and with mistakes."""

from decimal import Decimal
from typing import Any

import pytest

from billing.prices.book import Price, Rates, rates_of
from billing.prices.rating import rate, rate_bound
from billing.usage.certainty import Certainty, KnownFacts, Used, used
from billing.usage.reading import is_empty, merged, meters_from_usage, reported_usage, usage_of_stream

EVIDENCE = KnownFacts(input_tokens=27, output_tokens=3, asked_output_tokens=100, context_window=128_000)
MILLIONTH = Decimal("0.000001")


def booked(usage: dict[str, Any], api: str = "openai.chat", **known: Any) -> Used:
    facts = {name: getattr(EVIDENCE, name) for name in KnownFacts.__dataclass_fields__} | known
    return used(api, usage, context={}, evidence=KnownFacts(**facts))


def rates(**usd_per_million: str) -> Rates:
    prices = [Price(meter, Decimal(usd)) for meter, usd in usd_per_million.items()]
    return rates_of(prices, provider="p", model="m")


PLAIN = rates(input="1", cache_read="0.1", output="10")


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        pytest.param(
            {"prompt_tokens": 10_120, "completion_tokens": 1_499, "total_tokens": 14_428,
             "prompt_tokens_details": {"cached_tokens": 128}, "completion_tokens_details": {"reasoning_tokens": 2_809}},
            {"input": 9_992, "cache_read": 128, "output": 4_308}, id="reasoning beside the completion",
        ),
        pytest.param(
            {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
             "prompt_tokens_details": {"cached_tokens": 6, "text_tokens": 32, "audio_tokens": 0, "image_tokens": 0},
             "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0}, "num_sources_used": 0},
            {"input": 26, "cache_read": 6, "output": 103}, id="reasoning beside a shorter completion",
        ),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1900,
             "completion_tokens_details": {"reasoning_tokens": 400}},
            {"input": 1000, "output": 900}, id="reasoning that would fit into the completion",
        ),
        pytest.param({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 530}, {"input": 10, "output": 520},
                     id="a total that nobody explains"),
        pytest.param(
            {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81,
             "completion_tokens_details": {"reasoning_tokens": 60}},
            {"input": 21, "output": 60}, id="nothing but reasoning",
        ),
        pytest.param({"prompt_tokens": 21, "total_tokens": 81}, {"input": 21, "output": 60}, id="the total alone"),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, "prompt_cache_hit_tokens": 900,
             "prompt_cache_miss_tokens": 100},
            {"input": 100, "cache_read": 900, "output": 10}, id="hits and misses",
        ),
        pytest.param({"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, "cached_tokens": 900},
                     {"input": 100, "cache_read": 900, "output": 10}, id="cached tokens at the top"),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 1010,
             "prompt_tokens_details": {"cached_tokens": 900}},
            {"input": 100, "cache_read": 900, "output": 10}, id="cached tokens beside the prompt",
        ),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 10, 
             "prompt_tokens_details": {"cached_tokens": 500, "cache_creation_tokens": 300}},
            {"input": 200, "cache_read": 500, "cache_write": 300, "output": 10}, id="cache creation",
        ),
        pytest.param({"prompt_tokens": "1000", "completion_tokens": "10", "total_tokens": "1010"}, {"input": 1000, "output": 10},
                     id="figures as texts"),
        pytest.param({"prompt_tokens": 1000.0, "completion_tokens": "10.0"}, {"input": 1000, "output": 10}, id="with a point"),
        pytest.param({"prompt_tokens": 1000, "completion_tokens": 10, "queue_time": 0.1, "x": None, "y": {}, "z": {"n": 0}},
                     {"input": 1000, "output": 10}, id="times, and fields that say nothing"),
    ],
)  # fmt: skip
def test_it_works(usage: dict[str, Any], meters: dict[str, int]) -> None:
    assert meters_from_usage("openai.chat", usage) == meters
    assert booked(usage) == Used(meters, Certainty.EXACT)


@pytest.mark.parametrize(
    ("usage", "least"),
    [
        pytest.param({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 900}, {"input": 1000, "output": 100},
                     id="a total below its parts"),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 80}},
            {"input": 1000, "output": 90}, id="more reasoning than completion, and no total",
        ),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 900}, {"input": 1000, "output": 3},
            id="less than came",
        ),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 1200}},
            {"input": 1200, "output": 10}, id="more cached than heard",
        ),
        pytest.param({"completion_tokens": 40}, {"input": 27, "output": 40}, id="no input"),
        pytest.param({"prompt_tokens": -5, "completion_tokens": 40}, {"input": 27, "output": 40}, id="negative input"),
        pytest.param({"prompt_tokens": 10**19, "completion_tokens": 40}, {"input": 27, "output": 40}, id="beyond a bigint"),
        pytest.param({"prompt_tokens": 50, "completion_tokens": 10**19}, {"input": 50, "output": 3}, id="output beyond a bigint"),
        pytest.param({"prompt_tokens": 50, "completion_tokens": "many"}, {"input": 50, "output": 3}, id="a word"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_booked_at_what_it_plainly_tells(
    usage: dict[str, Any], least: dict[str, int]
) -> None:
    what = booked(usage)
    assert what.meters == least
    assert what.certainty is Certainty.UNREAD
    assert what.reason
    assert "no usage reported" not in what.reason


def test_what_overlaps_is_read_as_the_dearest() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 300, "audio_tokens": 600, "text_tokens": 400},
        "completion_tokens_details": {"audio_tokens": 80, "text_tokens": 20},
    }
    what = booked(usage)
    assert what.certainty is Certainty.ESTIMATED
    assert what.meters == {
        "input": 100,
        "cache_read": 300,
        "input_audio": 600,
        "output": 20,
        "output_audio": 80,
    }
    usage["prompt_tokens_details"]["cached_tokens"] = 500
    assert booked(usage).meters == {
        "cache_read": 400, "input_audio": 500, "cache_read_audio": 100, "output": 20, "output_audio": 80
    }  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "is_input"),
    [
        ({"prompt_tokens": 5_000_000_000, "completion_tokens": 10}, True),
        ({"prompt_tokens": 192_001, "completion_tokens": 10}, True),
        ({"prompt_tokens": 50, "completion_tokens": 1_000_000}, False),
        ({"prompt_tokens": 50, "completion_tokens": 8_593}, False),
        ({"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 1_000_000}, False),
        ({"prompt_tokens": 50, "completion_tokens": 10**6, "completion_tokens_details": {"reasoning_tokens": 10**6}}, False),
    ],
)  # fmt: skip
def test_nobody_believes_more_than_can_be(usage: dict[str, Any], is_input: bool) -> None:
    what = booked(usage)
    assert (what.is_beyond, what.certainty) == (True, Certainty.UNREAD)
    assert what.meters == {"input": 27, "output": 100}
    assert ("input" if is_input else "output") in what.doubts[0].what


@pytest.mark.parametrize(
    ("usage", "known"),
    [
        ({"prompt_tokens": 192_000, "completion_tokens": 10}, {}),
        ({"prompt_tokens": 1_000_000, "completion_tokens": 10}, {"has_server_tools": True}),
        ({"prompt_tokens": 1_000_000, "completion_tokens": 10}, {"input_tokens": 900_000}),  # texts to embed
        ({"prompt_tokens": 50, "completion_tokens": 8_592}, {}),
        ({"prompt_tokens": 50, "completion_tokens": 50_000}, {"output_tokens": 40_000}),  # it came
        ({"prompt_tokens": 50, "completion_tokens": 90_000, "completion_tokens_details": {"reasoning_tokens": 89_990}}, {}),
    ],
)  # fmt: skip
def test_what_may_be_is_believed(usage: dict[str, Any], known: dict[str, Any]) -> None:
    assert booked(usage, **known).certainty is Certainty.EXACT


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 0, "completion_tokens": 0}, {"total_tokens": 0, "prompt_tokens": 0}]
)
def test_zeros_are_no_usage(usage: dict[str, Any]) -> None:
    assert booked(usage).meters == {"input": 27, "output": 3}
    assert booked(usage).certainty is Certainty.ESTIMATED


def test_a_zero_beside_an_answer_is_counted_and_the_rest_kept() -> None:
    what = booked({"input_tokens": 2500, "output_tokens": 0}, "anthropic.messages")
    assert (what.meters, what.certainty) == ({"input": 2500, "output": 3}, Certainty.ESTIMATED)


def test_an_answer_that_broke_off_is_booked_at_the_larger_of_told_and_counted() -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 10}
    assert booked(usage, is_whole=False).meters == {"input": 50, "output": 10}
    assert booked(usage, is_whole=False, output_tokens=40).meters == {"input": 50, "output": 40}
    assert booked(usage, is_whole=False).certainty is Certainty.ESTIMATED


def test_output_far_below_what_came_is_doubted() -> None:
    assert (
        booked({"prompt_tokens": 50, "completion_tokens": 1}, output_tokens=300).certainty is Certainty.UNREAD
    )
    assert (
        booked({"prompt_tokens": 50, "completion_tokens": 1}, output_tokens=30).certainty is Certainty.EXACT
    )


GOOD = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


@pytest.mark.parametrize(
    "later",
    [
        {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": None}, {"completion_tokens": 3},
        {"prompt_tokens": "7"}, {"prompt_tokens_details": None}, {"prompt_tokens_details": {}},
    ],
)  # fmt: skip
def test_figures_never_fall(later: dict[str, Any]) -> None:
    told = merged(GOOD, later)
    assert {name: told[name] for name in GOOD} == GOOD
    assert meters_from_usage("openai.chat", told) == {"input": 100, "output": 10}


def test_figures_grow_at_every_level() -> None:
    one = {"iterations": [{"input_tokens": 5}], "cache_creation": {"ephemeral_1h_input_tokens": 7}}
    two = {
        "iterations": [{"input_tokens": 9}, {"input_tokens": 2}],
        "cache_creation": {"ephemeral_1h_input_tokens": 3},
    }
    assert merged(one, two) == {
        "iterations": [{"input_tokens": 9}, {"input_tokens": 2}],
        "cache_creation": {"ephemeral_1h_input_tokens": 7},
    }
    assert merged(two, one) == merged(one, two)


def test_whoever_invents_names_without_end_is_not_read_on() -> None:
    told: dict[str, Any] = {}
    for number in range(1000):
        told = merged(told, {f"n{number}": 1})
    assert len(told) <= 201
    assert booked(GOOD | told).certainty is Certainty.UNREAD


@pytest.mark.parametrize(
    "payload",
    [
        {"usage": GOOD},
        {"choices": [{"usage": GOOD}]},
        {"choices": [{"index": 0}, {"index": 1, "usage": GOOD}], "usage": None},
        {"x_groq": {"id": "req_1", "usage": GOOD}},
        {"message": {"usage": GOOD}},
        {"response": {"usage": GOOD}},
        {"usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110,
                           "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}]}},
        {"usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "totalTokenCount": 110}},
    ],
)  # fmt: skip
def test_usage_is_found_wherever_it_stands(payload: dict[str, Any]) -> None:
    assert meters_from_usage("openai.chat", reported_usage(payload)) == {"input": 100, "output": 10}
    events = [payload, {"choices": [], "usage": {}}, {"usage": None}]
    assert meters_from_usage("openai.chat", usage_of_stream("openai.chat", events)) == {
        "input": 100,
        "output": 10,
    }


@pytest.mark.parametrize(
    "payload", [{}, {"choices": None}, {"choices": [7]}, {"usage": None}, {"x_groq": {"id": "x"}}]
)
def test_nothing_told_is_nothing(payload: dict[str, Any]) -> None:
    assert is_empty(reported_usage(payload))


@pytest.mark.parametrize("block", [[GOOD], "100 tokens", 110])
def test_a_block_that_is_none_is_not_forgotten(block: Any) -> None:
    assert booked(reported_usage({"usage": block})).certainty is Certainty.UNREAD


def test_a_bound_is_never_below_the_priced_part_nor_the_hold() -> None:
    meters = {"input": 1000, "output": 100, "code_execution": 1}
    dear = rate_bound(meters, PLAIN, least_usd=Decimal("0.0001"))
    assert (dear.cost_usd, dear.is_lump) == (Decimal("0.002"), True)
    assert [(line.meter, line.cost_usd) for line in dear.lines] == [
        ("input", 1000 * MILLIONTH), ("output", 1000 * MILLIONTH), ("hold", Decimal(0))
    ]  # fmt: skip
    assert rate_bound(meters, PLAIN, least_usd=Decimal("0.5")).cost_usd == Decimal("0.5")
    # tokens without a price, and those that nobody could read, are bounded by the dearest price of any token
    audio = rate_bound({"input": 1000, "input_audio": 600}, PLAIN, least_usd=Decimal(0), unread_tokens=50)
    assert audio.cost_usd == rate({"input": 1000, "output": 650}, PLAIN).cost_usd
