"""When a schedule is due, in the tenant's time zone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from billing.deliveries.calendar import next_after, occasion_of

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "facts", "due"),
    [
        ("2026-11-29 04:59", {"when": "daily"}, "2026-11-29 05:00"),
        ("2026-11-29 05:00", {"when": "daily"}, "2026-11-30 05:00"),
        ("2026-11-30 23:30", {"when": "daily", "hour": 0}, "2026-12-01 23:00"),
        ("2026-03-28 12:00", {"when": "daily"}, "2026-03-29 04:00"),  # the clocks went forward
        (
            "2026-03-28 23:30",
            {"when": "daily", "hour": 2},
            "2026-03-29 01:00",
        ),  # there is no 02:00 on that day
        ("2026-11-03 05:00", {"when": "monthly", "day": 3}, "2026-12-03 05:00"),
        ("2026-12-03 05:00", {"when": "monthly", "day": 3}, "2027-01-03 05:00"),
        ("2027-02-01 00:00", {"when": "monthly", "day": 28}, "2027-02-28 05:00"),
    ],
)
def test_it_works(moment: str, facts: dict[str, Any], due: str) -> None:
    asked = {"day": None, "hour": 6, "timezone": BERLIN} | facts
    assert next_after(at(moment), **asked) == at(due)


def test_a_close_is_due_by_no_clock() -> None:
    assert next_after(at("2026-11-29 05:00"), when="close", day=None, hour=6, timezone="UTC") is None


def test_each_time_is_later_than_the_one_before() -> None:
    moment, seen = at("2026-01-01 00:00"), []
    for _ in range(400):
        following = next_after(moment, when="daily", day=None, hour=2, timezone=BERLIN)
        assert following is not None
        assert following > moment
        moment = following
        seen.append(occasion_of(moment, when="daily", timezone=BERLIN))
    assert len(set(seen)) == 400


def test_a_month_is_called_by_the_one_that_is_over() -> None:
    assert occasion_of(at("2026-11-30 23:30"), when="monthly", timezone=BERLIN) == "month-2026-11"
    assert occasion_of(at("2026-11-30 22:30"), when="monthly", timezone=BERLIN) == "month-2026-10"
    assert occasion_of(at("2026-11-30 23:30"), when="daily", timezone=BERLIN) == "day-2026-12-01"
