"""What is collected in memory is written: figures, and the lines of calls."""

import json
import logging

import pytest
from prometheus_client import REGISTRY

from config import plain_lines, write_behind
from config.tallies import Spread, Tally

CALLS = Tally("test_calls", "Calls", ["model"])
TIMES = Spread("test_seconds", "Seconds", ["model"], buckets=(1, 2))


def counted(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"model": "a", **labels})


def test_it_works() -> None:
    for amount in (1, 1.5, 0.5):
        CALLS.add("a", amount=amount)
        TIMES.add("a", amount=amount)
    write_behind.write_all()
    assert counted("test_calls_total") == 3
    assert (counted("test_seconds_bucket", le="1.0"), counted("test_seconds_sum")) == (2, 3)
    write_behind.write_all()
    assert counted("test_calls_total") == 3


def test_a_writer_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError

    monkeypatch.setattr(write_behind, "_writers", [fail, *write_behind._writers])
    before = counted("test_calls_total") or 0
    CALLS.add("a")
    write_behind.write_all()
    assert counted("test_calls_total") == before + 1


def test_a_plain_line_is_as_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("purser.calls").setLevel(logging.INFO)
    plain_lines.info("call", logger="purser.calls", model="gpt-4o", code=None, status=200)
    write_behind.write_all()
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "call",
        "level": "info",
        "logger": "purser.calls",
        "model": "gpt-4o",
        "code": None,
        "status": 200,
    }


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("purser.calls").setLevel(logging.WARNING)
    plain_lines.info("call", logger="purser.calls")
    write_behind.write_all()
    assert not capsys.readouterr().err
    logging.getLogger("purser.calls").setLevel(logging.NOTSET)
