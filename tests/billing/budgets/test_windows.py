"""Which windows a call falls into."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.budgets.windows import BudgetFacts, span, windows_for
from billing.scopes import Dimensions

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Tokyo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Cairo",
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))


def budget(scope: str, value: str = "", period: str = "day") -> BudgetFacts:
    return BudgetFacts(1, scope, value, "usd", period, Decimal(5), "hard", (Decimal(80),), "")


def test_it_works() -> None:
    at = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    (window,) = windows_for([budget("tenant")], Dimensions(), at=at, timezone="Europe/Berlin")
    assert window.starts_at == datetime(2026, 11, 21, 23, 0, tzinfo=UTC)
    assert window.ends_at == datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
    assert window.subject == ""


@pytest.mark.parametrize(
    ("day", "hours"),
    [(datetime(2026, 3, 29, 12, tzinfo=UTC), 23), (datetime(2026, 10, 25, 12, tzinfo=UTC), 25)],
)
def test_a_day_of_a_change_of_clocks_has_its_own_length(day: datetime, hours: int) -> None:
    starts_at, ends_at = span("day", at=day, timezone="Europe/Berlin")
    assert ends_at - starts_at == timedelta(hours=hours)


def test_months_of_a_change_of_clocks_have_743_and_745_hours() -> None:
    for at, hours in ((datetime(2026, 3, 15, tzinfo=UTC), 743), (datetime(2026, 10, 15, tzinfo=UTC), 745)):
        starts_at, ends_at = span("month", at=at, timezone="Europe/Berlin")
        assert ends_at - starts_at == timedelta(hours=hours)


def test_a_day_whose_midnight_is_skipped_begins_when_clocks_jump() -> None:
    """Cairo, 2026-04-24: after 23:59:59 comes 01:00."""
    starts_at, ends_at = span("day", at=datetime(2026, 4, 24, 12, tzinfo=UTC), timezone="Africa/Cairo")
    assert starts_at == datetime(2026, 4, 23, 22, tzinfo=UTC)
    assert ends_at - starts_at == timedelta(hours=23)


@given(at=MOMENTS, zone=st.sampled_from(ZONES), period=st.sampled_from(("day", "week", "month")))
def test_windows_tile_time(at: datetime, zone: str, period: str) -> None:
    starts_at, ends_at = span(period, at=at, timezone=zone)
    assert starts_at <= at < ends_at
    assert span(period, at=ends_at, timezone=zone)[0] == ends_at
    assert span(period, at=starts_at - timedelta(microseconds=1), timezone=zone)[1] == starts_at
    assert starts_at.astimezone(ZoneInfo(zone)).date() <= at.astimezone(ZoneInfo(zone)).date()


def test_a_week_begins_on_monday_and_a_total_never_ends() -> None:
    starts_at, _ = span("week", at=datetime(2026, 11, 22, 12, tzinfo=UTC), timezone="UTC")
    assert starts_at == datetime(2026, 11, 16, tzinfo=UTC)
    assert span("total", at=datetime.now(UTC), timezone="UTC")[1] is None


def test_each_one_has_a_window_and_a_named_one_its_own() -> None:
    budgets = [budget("user"), budget("user", "alice"), budget("feature"), budget("model", "gpt-4o")]
    dimensions = Dimensions(user="bob", model="gpt-4o")
    windows = windows_for(budgets, dimensions, at=datetime.now(UTC), timezone="UTC")
    assert [(window.budget.scope, window.subject) for window in windows] == [
        ("user", "bob"),
        ("model", "gpt-4o"),
    ]


def test_a_call_of_nobody_is_of_no_user() -> None:
    assert windows_for([budget("user")], Dimensions(), at=datetime.now(UTC), timezone="UTC") == ()
