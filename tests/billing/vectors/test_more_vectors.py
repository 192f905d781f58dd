"""Vectors of the published form that the published file does not have, worked out by hand."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

PER = {"tokens": 1_000_000, "web_search": 1000, "file_search": 1000}
GPT = {"input": "2.5", "cache_read": "1.25", "output": "10", "web_search": "10"}
CLAUDE = {
    "input": "3", "cache_read": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6", "output": "15", "web_search": "10",
}  # fmt: skip
LONG = {"above_input_tokens": 200_000, "rates": {
    "input": "6", "cache_read": "0.6", "cache_write_5m": "7.5", "cache_write_1h": "12", "output": "22.5"}}  # fmt: skip


def openai(usage: dict[str, Any] | None, rates: Any = GPT, **more: Any) -> dict[str, Any]:
    row = None if rates is None else {"per": PER, "currency": "USD", "rates": rates} | more.pop("row", {})
    base = {
        "id": "x",
        "provider": "openai",
        "api": "openai.chat",
        "model": "gpt-x",
        "usage": usage,
        "price_row": row,
    }
    return base | more


def anthropic(usage: dict[str, Any] | None, rates: Any = CLAUDE, **more: Any) -> dict[str, Any]:
    return openai(usage, rates, **more) | {
        "provider": "anthropic",
        "api": "anthropic.messages",
        "model": "claude-x",
    }


def result_of(tmp_path: Path, vector: dict[str, Any], which: str = "provider_vectors") -> dict[str, Any]:
    """What the command says of a vector, and that it says it of every vector."""
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps({which: [vector | {"id": "x"}]}))
    output = StringIO()
    call_command("rate", str(file), stdout=output)
    (line,) = output.getvalue().splitlines()
    return json.loads(line)


SPLIT_CACHE = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 700}
LABELLED = [
    {"rates": {"input": "2", "output": "8"}},
    {"processing": "flex", "rates": {"input": "1", "output": "4"}},
    {"processing": "batch", "rates": {"input": "1.5", "output": "4.5"}},
]
CALL = {"prompt_tokens": 1000, "completion_tokens": 100}


@pytest.mark.parametrize(
    ("vector", "meters", "cost"),
    [
        pytest.param(openai({"prompt_tokens": 0, "completion_tokens": 0}), {}, "0.000000000000", id="nothing used"),
        pytest.param(openai({"prompt_tokens": 7}), {"input": 7}, "0.000017500000", id="no details at all"),
        pytest.param(
            openai({**CALL, "prompt_tokens_details": None, "queue_ms": 3, "cost": {"x": 1}}),
            {"input": 1000, "output": 100}, "0.003500000000", id="fields that nobody knows",
        ),
        pytest.param(
            openai({"prompt_tokens": 9_000_000_000_000, "completion_tokens": 1}),
            {"input": 9_000_000_000_000, "output": 1}, "22500000.000010000000", id="more tokens than a float counts",
        ),
        pytest.param(openai({"prompt_tokens": 1}, {"input": "0.0000005"}), {"input": 1}, "0.000000000000", id="half even down"),
        pytest.param(openai({"prompt_tokens": 3}, {"input": "0.0000005"}), {"input": 3}, "0.000000000002", id="half even up"),
        pytest.param(openai({"prompt_tokens": 3}, {"input": 5e-07}), {"input": 3}, "0.000000000002", id="a JSON number"),
        pytest.param(openai({"prompt_tokens": 3}, {"input": "0"}), {"input": 3}, "0.000000000000", id="a price of zero"),
        pytest.param(
            openai({
                "input_tokens": 1000, "output_tokens": 300,
                "input_token_details": {"text_tokens": 400, "audio_tokens": 600, "cached_tokens": 500,
                                        "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 300}},
                "output_token_details": {"text_tokens": 100, "audio_tokens": 200},
            }, {"input": "4", "cache_read": "0.4", "input_audio": "32", "cache_audio_read": "0.4", "output": "16",
                "output_audio": "64"}, api="openai.realtime"),
            {"input": 200, "cache_read": 200, "input_audio": 300, "cache_audio_read": 300, "output": 100, "output_audio": 200},
            "0.025000000000", id="cached audio, by the row's own name",
        ),
        pytest.param(
            openai({"input_tokens": 900, "output_tokens": 4160, "input_tokens_details": {"text_tokens": 100, "image_tokens": 800},
                    "output_tokens_details": {"image_tokens": 4160}},
                   {"input": "5", "input_image": "10", "output": "20", "output_image": "40"}, api="openai.images"),
            {"input": 100, "input_image": 800, "output_image": 4160}, "0.174900000000", id="images in and out",
        ),
        pytest.param(
            openai({"prompt_tokens": 272_001, "completion_tokens": 10}, row={
                "tiers": [{"above_input_tokens": 272_000, "rates": {"input": "5", "output": "15"}}]}),
            {"input": 272_001, "output": 10}, "1.360155000000", id="one token over the threshold",
        ),
        pytest.param(
            openai({"prompt_tokens": 300_000, "completion_tokens": 0}, tool_calls={"web_search": 2}, row={
                "tiers": [{"above_input_tokens": 128_000, "rates": {"input": "3"}},
                          {"above_input_tokens": 256_000, "rates": {"input": "4"}}]}),
            {"input": 300_000, "web_search": 2}, "1.220000000000", id="the highest of two tiers, fees without one",
        ),
        pytest.param(
            anthropic({"input_tokens": 100_000, "cache_read_input_tokens": 60_000, "cache_creation_input_tokens": 40_000,
                       "output_tokens": 100}, row={"tiers": [LONG]}),
            {"input": 100_000, "cache_read": 60_000, "cache_write_5m": 40_000, "output": 100}, "0.469500000000",
            id="cached input up to the threshold",
        ),
        pytest.param(
            anthropic({"input_tokens": 100_000, "cache_read_input_tokens": 60_000, "cache_creation_input_tokens": 40_001,
                       "output_tokens": 100}, row={"tiers": [LONG]}),
            {"input": 100_000, "cache_read": 60_000, "cache_write_5m": 40_001, "output": 100}, "0.938257500000",
            id="cached input over it",
        ),
        pytest.param(
            anthropic({"input_tokens": 10, "output_tokens": 5, "cache_creation": SPLIT_CACHE}),
            {"input": 10, "cache_write_5m": 300, "cache_write_1h": 700, "output": 5}, "0.005430000000",
            id="written, told by the split alone",
        ),
        pytest.param(
            anthropic({"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 1200,
                       "cache_creation": SPLIT_CACHE}),
            {"input": 10, "cache_write_5m": 500, "cache_write_1h": 700, "output": 5}, "0.006180000000",
            id="written, the split tells a part",
        ),
        pytest.param(
            anthropic({"input_tokens": 1000, "output_tokens": 100, "inference_geo": "us",
                       "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 9}}, row={"token_multiplier": "1.1"}),
            {"input": 1000, "output": 100, "web_search": 1}, "0.014950000000", id="residency: tokens only",
        ),
        pytest.param(
            anthropic({"input_tokens": 1000, "output_tokens": 100, "inference_geo": "global"},
                      row={"token_multiplier": {"us": "1.1"}}),
            {"input": 1000, "output": 100}, "0.004500000000", id="residency of another region",
        ),
        pytest.param(
            anthropic(None, stream_events=[
                {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}},
                {"type": "message_delta", "usage": {"input_tokens": 2000, "output_tokens": 40, "cache_read_input_tokens": None,
                                                    "inference_geo": "us"}},
            ], row={"token_multiplier": {"us": "1.1"}}),
            {"input": 2000, "output": 40}, "0.007260000000", id="a stream whose delta raises the input, in a region",
        ),
        pytest.param(
            openai(None, stream_events=[
                {"usage": {"prompt_tokens": 10, "completion_tokens": 1}},
                {"usage": {"prompt_tokens": 10, "completion_tokens": 4}},
                {"usage": None},
            ]),
            {"input": 10, "output": 4}, "0.000065000000", id="a stream that repeats its usage",
        ),
        pytest.param(
            openai(None, api="openai.responses", stream_events=[
                {"type": "response.created", "response": {"usage": None}},
                {"type": "response.completed", "response": {"usage": {"input_tokens": 10, "output_tokens": 4}}},
            ]),
            {"input": 10, "output": 4}, "0.000065000000", id="a stream of responses",
        ),
        pytest.param(
            openai({"input_tokens": 10, "output_tokens": 4}, api="openai.responses",
                   output=[{"type": "message"}, {"type": "web_search_call"}, {"type": "web_search_call"}]),
            {"input": 10, "output": 4, "web_search": 2}, "0.020065000000", id="fees counted from the output",
        ),
        pytest.param(
            anthropic({"input_tokens": 30, "output_tokens": 6, "iterations": [
                {"type": "message", "input_tokens": 10, "output_tokens": 2},
                {"type": "message", "input_tokens": 20, "output_tokens": 4, "model": "claude-y"},
            ]}, price_rows={"claude-y": {"rates": {"input": "1", "output": "5"}}}),
            {"input": 10, "output": 2, "input@claude-y": 20, "output@claude-y": 4}, "0.000100000000",
            id="iterations of two models",
        ),
        pytest.param(
            openai(CALL, None, price_rows=LABELLED, context={"service_tier": "flex"}, served_tier="flex"),
            {"input": 1000, "output": 100}, "0.001400000000", id="the row of the tier that was served",
        ),
        pytest.param(
            openai(CALL, None, price_rows=LABELLED, context={"service_tier": "flex"}, served_tier="default"),
            {"input": 1000, "output": 100}, "0.002800000000", id="asked for flex, served online",
        ),
        pytest.param(
            openai(CALL, None, price_rows=LABELLED, context={"processing": "batch"}, served_tier="default"),
            {"input": 1000, "output": 100}, "0.001950000000", id="a batch, which the answer does not say",
        ),
        pytest.param(
            openai(CALL, None, occurred_at="2026-06-10T00:00:00Z", price_rows=[
                {"rates": {"input": "10", "output": "40"}, "valid_to": "2026-06-10T00:00:00Z"},
                {"rates": {"input": "2", "output": "8"}, "valid_from": "2026-06-10T00:00:00Z"},
            ]),
            {"input": 1000, "output": 100}, "0.002800000000", id="the first instant of the new price",
        ),
    ],
)  # fmt: skip
def test_it_rates(tmp_path: Path, vector: dict[str, Any], meters: dict[str, int], cost: str) -> None:
    result = result_of(tmp_path, vector)
    assert (result.get("meters"), result.get("cost_usd")) == (meters, cost), result
    assert {line["meter"]: line["quantity"] for line in result["lines"]} == meters


@pytest.mark.parametrize(
    ("vector", "error"),
    [
        pytest.param(openai(CALL, None), "ModelUnpriced", id="no row"),
        pytest.param(openai(CALL, {}), "ModelUnpriced", id="an empty row"),
        pytest.param(openai(CALL, {"input": "1", "output": None}), "UnpricedMeter", id="a price of null"),
        pytest.param(openai(CALL, row={"model": "gpt"}), "ModelUnpriced", id="a row of the name's beginning"),
        pytest.param(openai(CALL, None, price_rows=LABELLED, context={"service_tier": "priority"}), "ModelUnpriced",
                     id="priority without a row"),
        pytest.param(openai(CALL, {"input": "1"}, tool_calls={"web_search": 1}), "UnpricedMeter", id="a fee without a price"),
        pytest.param(openai({**CALL, "prompt_tokens_details": {"audio_tokens": 5}}), "UnpricedMeter", id="audio without a price"),
        pytest.param(anthropic({"input_tokens": 1, "output_tokens": 1, "server_tool_use": {"code_execution_requests": 1}}),
                     "UnpricedMeter", id="a tool that nobody priced"),
        pytest.param(anthropic({"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 5},
                               {"input": "1", "output": "1"}), "UnpricedMeter", id="a cache write without a price"),
        pytest.param(openai(None, stream_events=[{"usage": None}]), "InvalidUsage", id="a stream without usage"),
        pytest.param(openai({**CALL, "prompt_tokens_details": {"text_tokens": 900, "audio_tokens": 200}}), "InvalidUsage",
                     id="text and audio are more than the input"),
        pytest.param(openai({**CALL, "completion_tokens_details": {"text_tokens": 60, "audio_tokens": 60}}), "InvalidUsage",
                     id="text and audio are more than the output"),
        pytest.param(openai({**CALL, "completion_tokens_details": {
            "accepted_prediction_tokens": 60, "rejected_prediction_tokens": 60}}), "InvalidUsage", id="more predicted than said"),
        pytest.param(openai({**CALL, "prompt_tokens_details": {"cached_tokens": 10, "cached_tokens_details": {
            "text_tokens": 8, "audio_tokens": 8}, "audio_tokens": 20}}), "InvalidUsage", id="more cached than cached"),
        pytest.param(openai({**CALL, "prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 600}}),
                     "InvalidUsage", id="read and written are more than the input"),
        pytest.param(openai({**CALL, "total_tokens": 1099}), "InvalidUsage", id="a total that is too small"),
        pytest.param(openai({"prompt_tokens": 1.5}), "InvalidUsage", id="half a token"),
        pytest.param(openai({"prompt_tokens": "many"}), "InvalidUsage", id="a word"),
        pytest.param(anthropic({"input_tokens": -1, "output_tokens": 1}), "InvalidUsage", id="less than nothing"),
        pytest.param(anthropic({"input_tokens": 5, "output_tokens": 5, "iterations": [{"input_tokens": 4, "output_tokens": 5}]}),
                     "InvalidUsage", id="iterations that do not add up"),
        pytest.param(anthropic({"input_tokens": 5, "output_tokens": 5, "iterations": [7]}), "InvalidUsage", id="no iterations"),
        pytest.param(openai(CALL, api="elsewhere.chat"), "InvalidUsage", id="an API that nobody knows"),
    ],
)  # fmt: skip
def test_it_refuses(tmp_path: Path, vector: dict[str, Any], error: str) -> None:
    result = result_of(tmp_path, vector)
    assert result["error"] == error
    assert result.get("cost_usd") is None
    assert (result.get("status") == "unpriced") == (error != "InvalidUsage")


PLAIN = openai({"prompt_tokens": 1000, "completion_tokens": 500})


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        pytest.param(
            {"kind": "rate_plan", "lines": [{"meter": "input", "quantity": 1000, "list_unit_price": "2.5"}], "rules": [
                {"type": "markup_pct", "value": "20", "model": "gpt-*"}, {"type": "discount_pct", "value": "50"}],
             "model": "claude-x"},
            {"list_usd": "0.002500000000", "billed_usd": "0.001250000000", "saving_usd": "0.001250000000"},
            id="a rule of another model does not count",
        ),
        pytest.param(
            {"kind": "rate_plan", "lines": [{"meter": "web_search", "quantity": 3, "list_unit_price": "10"}],
             "rules": [{"type": "fixed_unit_price", "meter": "web_search", "value": "7"}]},
            {"billed_usd": "0.021000000000"}, id="a fee by the thousand",
        ),
        pytest.param(
            PLAIN | {"kind": "rate_plan", "rules": [{"type": "discount_pct", "value": "12.5"}]},
            {"list_usd": "0.007500000000", "billed_usd": "0.006562500000"}, id="a discount on a call",
        ),
        pytest.param(
            {"kind": "savings", "usage_would_be_list_usd": "0.0075", "gateway_cache_policy": {"charge_pct_of_list": "20"}},
            {"billed_usd": "0.0015", "saving_usd": "0.006000000000"}, id="a hit that is charged for in part",
        ),
        pytest.param(
            anthropic({"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 1000}) | {"kind": "savings"},
            {"saving_usd": "-0.000750000000", "saving_kind": "provider_cache"}, id="a cache that cost more than it saved",
        ),
        pytest.param(
            {"kind": "fx", "currency": "EUR", "fx_rate": "0.9215", "ledger_by_line": ["10.005", "0.004", "0.004"]},
            {"printed_lines": ["9.22", "0.00", "0.00"], "rounding_line": "0.01", "total": "9.23"}, id="euros",
        ),
        pytest.param(
            {"kind": "statement_fx", "currency": "JPY", "fx_rate": "151.37", "exact_usd": "1234.567891234567"},
            {"total": "186877", "total_jpy": "186877", "printed_lines": ["186877"]}, id="yen have no cents",
        ),
        pytest.param(
            {"kind": "statement_rounding", "currency": "KWD", "fx_rate": "0.3071", "ledger_by_line": ["1", "1"]},
            {"printed_lines": ["0.307", "0.307"], "rounding_line": "0.000", "total": "0.614"}, id="three digits",
        ),
        pytest.param(
            {"kind": "dst_month", "timezone": "Europe/Berlin", "month": "2026-03"},
            {"start": "2026-02-28T23:00:00Z", "end": "2026-03-31T22:00:00Z", "hours": 743}, id="an hour is lost",
        ),
        pytest.param(
            {"kind": "billing_period", "timezone": "America/New_York", "month": "2026-11"},
            {"starts_at": "2026-11-01T04:00:00Z", "ends_at": "2026-12-01T05:00:00Z", "hours": 721}, id="an hour is won",
        ),
        pytest.param(
            {"kind": "period", "timezone": "Asia/Kolkata", "occurred_at": "2026-10-31T18:30:00Z"},
            {"billing_period": "2026-11", "starts_at": "2026-10-31T18:30:00Z"}, id="the first moment of a month elsewhere",
        ),
        pytest.param(
            {"kind": "period", "timezone": "Europe/Berlin", "month": "2026-10", "events": [
                {"occurred_at": "2026-09-30T21:59:59Z", "usd": "1"}, {"occurred_at": "2026-09-30T22:00:00Z", "usd": "2"},
                {"occurred_at": "2026-10-31T22:59:59Z", "usd": "4"}, {"occurred_at": "2026-10-31T23:00:00Z", "usd": "8"}]},
            {"in_period": 2, "total_usd": "6.000000000000", "hours": 745,
             "periods": ["2026-09", "2026-10", "2026-10", "2026-11"]},
            id="calls about its bounds",
        ),
        pytest.param(
            {"kind": "correction", "estimated_usd": "0.0100", "actual_usd": "0.0075", "occurred_at": "2026-10-31T12:00:00Z",
             "open_period": "2026-11"},
            {"correction_usd": "-0.002500000000", "charge_class": "Correction", "billing_period": "2026-11",
             "charge_period": "2026-10"}, id="late usage of a closed month",
        ),
        pytest.param(
            {"kind": "rerating", "meter": "input", "quantity": 2_000_000, "old_unit_price": "2.5", "new_unit_price": "2"},
            {"old_usd": "5.000000000000", "new_usd": "4.000000000000", "delta_usd": "-1.000000000000"}, id="a price corrected",
        ),
        pytest.param(
            PLAIN | {"kind": "rerate", "new_price_row": {"per": PER, "rates": {"input": "3", "output": "12"}}},
            {"old_usd": "0.007500000000", "new_usd": "0.009000000000", "delta_usd": "0.001500000000"}, id="a call re-rated",
        ),
        pytest.param(
            openai(None, row={"tiers": [{"above_input_tokens": 272_000, "rates": {"input": "5", "output": "15"}}]})
            | {"kind": "reservation_bound", "input_tokens": 272_001, "max_completion_tokens": 1000, "n": 2},
            {"hold_usd": "1.390005000000", "hold_tokens": 274_001}, id="a bound over the threshold, two answers",
        ),
        pytest.param(
            anthropic(None) | {"kind": "reservation_bound", "input_tokens": 1000, "max_tokens": 100},
            {"hold_usd": "0.004500000000"}, id="a bound where nothing is written to the cache",
        ),
        pytest.param(
            anthropic(None) | {"kind": "reservation_bound", "input_tokens": 1000, "max_tokens": 100,
                               "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"hold_usd": "0.007500000000"}, id="a bound where it may be",
        ),
        pytest.param(
            {"kind": "reconcile", "ours_usd": "100.00", "provider_usd": "100.10"},
            {"difference_usd": "0.100000000000", "within_tolerance": True}, id="close enough",
        ),
        pytest.param(
            {"kind": "reconcile", "ours_usd": "1.00", "openai": {"amount": {"value": 1.0101, "currency": "usd"}}},
            {"openai_usd": "1.0101", "within_tolerance": False}, id="not close enough",
        ),
    ],
)  # fmt: skip
def test_it_rates_what_tenants_pay(tmp_path: Path, vector: dict[str, Any], expected: dict[str, Any]) -> None:
    result = result_of(tmp_path, vector, "tenant_vectors")
    assert {name: result.get(name) for name in expected} == expected, result


def test_an_odd_vector_leaves_the_others_alone(tmp_path: Path) -> None:
    file = tmp_path / "vectors.json"
    odd = [{"id": "no-row", **PLAIN, "price_row": 7}, PLAIN]
    file.write_text(json.dumps({"provider_vectors": odd}))
    output = StringIO()
    call_command("rate", str(file), stdout=output)
    first, second = map(json.loads, output.getvalue().splitlines())
    assert first["error"] == "InvalidVector"
    assert second["cost_usd"] == "0.007500000000"
