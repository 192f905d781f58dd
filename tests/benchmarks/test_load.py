"""The pure parts of the benchmarks' load: what is sent, what the generators say, what a request cost."""

import json

import pytest

from benchmarks import bench_soak as soak
from benchmarks.load import generators, profiles, scenarios, streams
from benchmarks.load.counters import Snapshot, per_request
from benchmarks.load.generators import Load
from benchmarks.load.runs import Outcome, line_of
from benchmarks.load.scenarios import Scenario, is_completion

BASE_URL = "http://127.0.0.1:8000"


def test_it_works() -> None:
    output = 'Running 3s test\nFIGURES {"requests": 30, "seconds": 3.0, "errors": 0, "p50_ms": 1.5, "p99_ms": 9.0}\n'
    assert generators.figures_of(output) == Load(requests=30, seconds=3.0, errors=0, p50_ms=1.5, p99_ms=9.0)
    assert generators.figures_of(output).per_second == 10


def test_output_without_figures_is_an_error() -> None:
    with pytest.raises(ValueError, match="no figures"):
        generators.figures_of("unable to connect")


def test_a_request_announces_the_length_of_its_body() -> None:
    head, middle, tail = scenarios.everything(BASE_URL).parts()
    start, _, body = f"{head}{7:014}{middle}{42:03}{tail}".partition("\r\n\r\n")
    lines = start.split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert f"content-length: {len(body)}" in lines
    assert json.loads(body)["messages"][1]["content"].endswith("00000000000007.")
    assert json.loads(body)["user"] == "customer-042"


def test_the_script_of_wrk_repeats_bodies_only_where_it_should() -> None:
    assert "local tokens, users, seed = 0, 100, 5" in generators.script_of(
        scenarios.everything(BASE_URL), seed=5
    )
    assert "local tokens, users, seed = 50, 100, 5" in generators.script_of(
        scenarios.chat(BASE_URL, repeated=True), seed=5
    )


def test_costs_are_differences_by_request() -> None:
    before = Snapshot(10.0, {"gateway": 1.0, "postgres": 2.0}, {"round_trips": 5}, {"transactions": 100})
    after = Snapshot(12.0, {"gateway": 2.0, "postgres": 2.1}, {"round_trips": 105}, {"transactions": 150})
    assert per_request(before, after, requests=100) == pytest.approx(
        {
            "gateway_cpu_ms": 10.0,
            "postgres_cpu_ms": 1.0,
            "redis_round_trips": 1.0,
            "postgres_transactions": 0.5,
            "gateway_busy": 0.5,
        }
    )


def test_what_postgres_does_for_celery_is_not_the_requests() -> None:
    before = Snapshot(0.0, {"postgres": 1.0}, {}, {}, {10: 0.5, 11: 0.2})
    after = Snapshot(1.0, {"postgres": 4.0}, {}, {}, {10: 0.9, 12: 0.6})  # one has ended, one is new
    assert per_request(before, after, requests=1000) == pytest.approx(
        {"postgres_cpu_ms": 1.0, "postgres_helpers_cpu_ms": 2.0}
    )


def test_an_outcome_has_the_median_of_its_runs() -> None:
    outcome = Outcome(Scenario("raw", "no product", scenarios.chat(BASE_URL), {}, is_completion))
    for milliseconds in (3.0, 1.0, 2.0):
        outcome.add({"gateway_cpu_ms": milliseconds})
    assert (outcome.median("gateway_cpu_ms"), outcome.spread("gateway_cpu_ms")) == (2.0, (1.0, 3.0))
    assert outcome.as_json()["figures"] == {"gateway_cpu_ms": {"median": 2.0, "runs": [3.0, 1.0, 2.0]}}


def test_a_line_says_what_a_server_without_stores_did() -> None:
    figures = {
        "requests_per_second": 2000.0,
        "gateway_cpu_ms": 0.36,
        "p50_ms": 5.0,
        "p99_ms": 20.0,
        "gateway_busy": 0.9,
    }
    assert line_of("raw", figures).split() == (
        ["raw", "2000.0/s", "gateway", "0.360", "ms", "p50", "5.0", "p99", "20.0", "ms", "busy", "90%"]
    )


def test_a_profile_counts_packages_and_functions() -> None:
    stacks = [
        "main (run.py:1);post (llm/views/a.py:3);get (redis/client.py:9) 3",
        "main (run.py:1);post (llm/views/a.py:3) 1",
    ]
    table = profiles.table_of(stacks)
    assert "  75.0%  redis\n  25.0%  llm/views" in table
    assert "  75.0%  get (redis/client.py:9)" in table
    assert "main" not in table  # every stack has it


def test_a_request_without_users_has_none() -> None:
    request = scenarios.chat(BASE_URL, user=None)
    assert "customer" not in request.filled(token=1, user=2)
    assert "local tokens, users, seed = 0, 0, 5" in generators.script_of(request, seed=5)


def test_a_chunk_costs_the_slope_between_short_and_long_streams() -> None:
    short = streams.Reading(0.030, 0.001, 0.002, chunks=100, cpu=0.2)
    long = streams.Reading(0.034, 0.002, 0.005, chunks=1100, cpu=0.4)
    direct = streams.Reading(0.030, 0.0015, 0.003, chunks=1100, cpu=0.0)
    assert streams.figures_of(short, long, direct) == {
        "first_token_added_ms": 4.0,
        "chunk_added_p50_ms": 0.5,
        "chunk_added_p99_ms": 2.0,
        "cpu_ms_per_chunk": 0.2,
    }


def test_memory_is_compared_with_that_after_a_tenth_of_the_requests() -> None:
    readings = [soak.Reading(number * 100, 200.0 + number, 10.0) for number in range(1, 101)]
    assert soak.growth_of(readings) == round((300 / 210 - 1) * 100, 1)
    assert len(soak.thinned(readings)) == 20
    assert soak.thinned(readings)[-1] is readings[-1]
