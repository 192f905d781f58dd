"""When a batch is stuck, and in which words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llm.batches.operations.stuck import FAILURES_IN_A_ROW, OVERTIME, minutes, why_stuck
from llm.models import Batch, BatchJob, BatchProgress

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def why(
    status: str,
    *jobs: dict[str, Any],
    idle: timedelta = timedelta(hours=2),
    age: timedelta = timedelta(hours=3),
) -> str:
    batch = Batch(status=status, created_at=NOW - age, expires_at=NOW - age + timedelta(days=1))
    progress = BatchProgress(progressed_at=NOW - idle)
    made = [BatchJob(**{"provider": "openai", "state": "submitted"} | job) for job in jobs]
    return why_stuck(batch, progress, made, now=NOW)


def test_it_works() -> None:
    assert why("in_progress", {"failures": 7, "last_error": "503 no"}) == (
        "7 calls in a row to openai have failed: 503 no"
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("validating", "For 2 hours its lines are not checked."),
        ("finalizing", "For 2 hours its files are not written."),
        ("in_progress", "For 2 hours nothing has happened, and no job of it is open."),
        ("cancelling", "For 2 hours nothing has happened, and no job of it is open."),
        ("completed", ""),
        ("failed", ""),
    ],
)
def test_a_step_of_ours_that_does_not_go_on(status: str, words: str) -> None:
    assert why(status) == words
    assert why(status, idle=timedelta(minutes=1)) == ""


def test_a_provider_may_take_its_time() -> None:
    assert why("in_progress", {"next_look_at": NOW + timedelta(minutes=1)}, idle=timedelta(hours=20)) == ""
    assert why("in_progress", {"failures": FAILURES_IN_A_ROW - 1}) == ""


def test_but_not_beyond_the_batchs_end() -> None:
    ended = timedelta(days=1) + OVERTIME + timedelta(minutes=30)
    assert why("in_progress", {}, age=ended) == "It is past its end since 60 minutes."
    assert why("in_progress", {}, age=ended - timedelta(hours=1)) == ""


def test_lines_that_never_went_out() -> None:
    assert why("in_progress", {"state": "new"}) == "For 2 hours openai has not got its lines."
    assert why("in_progress", {"state": "new"}, idle=timedelta(minutes=30)) == ""


def test_a_worker_that_does_not_look() -> None:
    assert why("in_progress", {"next_look_at": NOW - timedelta(minutes=20)}) == (
        "Nobody has asked openai for 20 minutes: is the worker running?"
    )


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (0, "less than a minute"),
        (1, "1 minute"),
        (90, "90 minutes"),
        (120, "2 hours"),
        (60 * 47, "47 hours"),
        (60 * 48, "2 days"),
    ],
)
def test_spans_are_for_persons(span: int, words: str) -> None:
    assert minutes(timedelta(minutes=span)) == words
