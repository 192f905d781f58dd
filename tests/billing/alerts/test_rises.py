"""A jump is told from what a tenant does anyway: by the clock, by the hour, or whenever its people begin."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from billing.alerts.rises import IN_A_DAY, LENGTH, Fortnight, calendar_of, rise_of

AT = datetime(2026, 6, 18, 14, 25, tzinfo=UTC)  # a Thursday; the last span begins here
BERLIN = ZoneInfo("Europe/Berlin")
RNG_SEED = 5
Shape = Callable[[Any, Any], Any]  # requests of each span by its minute of the day


def steady(rng: Any, minute: Any) -> Any:
    return rng.poisson(20, len(minute))


def office(rng: Any, minute: Any) -> Any:
    return rng.poisson(2 + 60 * np.exp(-0.5 * ((minute - 13 * 60) / 150) ** 2))


def on_the_hour(rng: Any, minute: Any) -> Any:
    return rng.poisson(np.where(minute % 60 < 10, 80, 6))


def every_third_hour(rng: Any, minute: Any) -> Any:
    return rng.poisson(np.where(minute % 180 < 20, 120, 6))


def sessions(rng: Any, minute: Any, *, a_day: float = 10, lasting: int = 7) -> Any:
    """A few people who begin when they like, and are dense then."""
    begins = rng.random(len(minute)) < a_day / IN_A_DAY
    return rng.poisson(0.2 + 40 * np.convolve(begins, np.ones(lasting))[: len(minute)])


def rarer_sessions(rng: Any, minute: Any) -> Any:
    return sessions(rng, minute, a_day=4, lasting=14)


def many_sessions(rng: Any, minute: Any) -> Any:
    return sessions(rng, minute, a_day=60, lasting=8)


def fortnight(shape: Shape, *, at: datetime = AT, booked: float = 10) -> Fortnight:
    """Two weeks of a shape, which end with a moment's span."""
    rng = np.random.default_rng(RNG_SEED)
    minute = (at.hour * 60 + at.minute - 5 * np.arange(LENGTH)[::-1]) % (24 * 60)
    requests = shape(rng, minute).astype(float)
    return Fortnight(0.01 * requests, requests, calendar_of(at, ZoneInfo("UTC")), LENGTH, 10, booked)


def with_now(spent: Fortnight, requests: float, *, usd_each: float = 0.01) -> Fortnight:
    """The same, with so many requests in each of the last two spans."""
    counts, usd = spent.requests.copy(), spent.usd.copy()
    counts[-2:], usd[-2:] = requests, requests * usd_each
    return replace(spent, requests=counts, usd=usd)


def usual(spent: Fortnight) -> float:
    """The mean of a span in this hour of the days alike."""
    ends = LENGTH - 1 - np.array(spent.calendar.alike)
    return float(spent.requests[ends[:, None] + np.arange(-6, 6)].mean())


@pytest.mark.parametrize("shape", [steady, office, on_the_hour, every_third_hour, many_sessions])
def test_ten_times_the_usual_is_a_jump(shape: Shape) -> None:
    spent = fortnight(shape)
    rise = rise_of(with_now(spent, 10 * usual(spent)), threshold=4)
    assert rise is not None
    assert 4 < rise.times < 15


@pytest.mark.parametrize(
    "shape", [steady, office, on_the_hour, every_third_hour, sessions, rarer_sessions, many_sessions]
)
def test_what_a_tenant_does_anyway_is_none(shape: Shape) -> None:
    """Over two days, every five minutes, whatever the time."""
    long = fortnight(shape)
    rng = np.random.default_rng(RNG_SEED + 1)
    minute = (AT.hour * 60 + AT.minute + 5 * (1 + np.arange(2 * IN_A_DAY))) % (24 * 60)
    requests = np.concatenate((long.requests, shape(rng, minute)))
    jumps = 0
    for later in range(2 * IN_A_DAY):
        at = datetime.fromtimestamp(AT.timestamp() + 300 * later, UTC)
        counts = requests[later : later + LENGTH]
        spent = Fortnight(0.01 * counts, counts, calendar_of(at, ZoneInfo("UTC")), LENGTH, 10, 10)
        jumps += rise_of(spent, threshold=4) is not None
    assert jumps == 0


def test_a_session_at_a_silent_minute_is_no_jump_where_sessions_begin_at_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent = fortnight(sessions)
    ends = LENGTH - 1 - np.array(spent.calendar.alike)
    spent.requests[ends[:, None] + np.arange(-7, 5)] = 1  # nobody was there at just this time
    spent.requests[-14:] = 1
    spent.usd[:] = 0.01 * spent.requests
    session = with_now(spent, 45)
    assert rise_of(session, threshold=4) is None
    assert rise_of(with_now(spent, 450), threshold=4) is not None
    monkeypatch.setattr("billing.alerts.rises.DIFFERING", 9)
    assert rise_of(session, threshold=4) is not None  # for a tenant whose days are alike it would be one


def test_a_job_of_every_hour_hides_no_jump_between_two_of_it() -> None:
    spent = fortnight(on_the_hour)  # at 14:25, fifteen minutes after the job
    assert rise_of(with_now(spent, 110), threshold=4) is not None
    at_the_job = fortnight(on_the_hour, at=AT.replace(minute=5))
    assert rise_of(with_now(at_the_job, 85), threshold=4) is None


def test_it_does_not_wait_until_ten_minutes_are_over() -> None:
    """After five minutes, of which four are booked, what came is compared with as many minutes."""
    spent = fortnight(on_the_hour, at=AT.replace(minute=5), booked=4)
    half = with_now(spent, 0)
    half.requests[-2], half.usd[-2] = 200, 2.0
    soon = replace(half, minutes=5)
    assert rise_of(soon, threshold=2) is not None
    assert rise_of(replace(soon, booked=10), threshold=2) is None


def test_dearer_requests_alone_must_be_far_above_all_that_was() -> None:
    spent = fortnight(steady)
    assert rise_of(with_now(spent, 20, usd_each=0.1), threshold=3) is not None
    assert rise_of(with_now(spent, 20, usd_each=0.035), threshold=3) is None


def test_yesterdays_incident_does_not_hide_todays() -> None:
    spent = fortnight(steady)
    incident = LENGTH - 1 - IN_A_DAY + np.arange(-6, 7)
    spent.requests[incident], spent.usd[incident] = 4_000, 40
    assert rise_of(with_now(spent, 200), threshold=4) is not None


def test_days_before_the_clock_changed_are_whole_days() -> None:
    monday = datetime(2026, 3, 30, 0, 10, tzinfo=BERLIN).astimezone(
        UTC
    )  # ten minutes after a day of 23 hours
    calendar = calendar_of(monday, BERLIN)
    assert [ago for ago, _ in calendar.whole_days][:2] == [2 + 23 * 12, 2 + 47 * 12]
    spent = replace(fortnight(steady), calendar=calendar)
    assert rise_of(with_now(spent, 200), threshold=4) is not None


def test_without_two_weeks_it_is_compared_with_all_hours() -> None:
    spent = fortnight(steady)
    assert rise_of(replace(with_now(spent, 200), known=IN_A_DAY + 2), threshold=4) is not None
    assert rise_of(replace(with_now(spent, 30), known=IN_A_DAY + 2), threshold=4) is None
    assert rise_of(replace(with_now(spent, 200), known=IN_A_DAY - 2), threshold=4) is None
