"""Which lane a call takes, how delays are learnt, and what a deadline means: all pure."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from llm.calls.urgency import NOW, Urgency, parse_urgency
from llm.deferred.delays import BUCKETS, MOST_COUNTED, chance_within, with_delays
from llm.deferred.lanes import Offer, choose, move_up_at
from llm.errors import InvalidRequest
from llm.jobs.gathering import _first_alike

AT = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("value", "urgency"),
    [
        ("", NOW),
        ("Now", NOW),
        ("deferred", Urgency(may_wait=True)),
        ("within=90s", Urgency(may_wait=True, within=timedelta(seconds=90))),
        ("within=2h", Urgency(may_wait=True, within=timedelta(hours=2))),
        ("by=2026-12-01T09:00Z", Urgency(may_wait=True, by=AT + timedelta(hours=1))),
        ("by=2026-12-01T10:00:00+01:00", Urgency(may_wait=True, by=AT + timedelta(hours=1))),
    ],
)
def test_it_works(value, urgency):
    assert parse_urgency(value) == urgency


def test_a_deadline_is_named_or_the_usual_one():
    assert Urgency(may_wait=True).deadline(at=AT, usual=DAY) == AT + DAY
    assert Urgency(may_wait=True, within=timedelta(hours=1)).deadline(at=AT, usual=DAY) == AT + timedelta(
        hours=1
    )
    for wrong in (AT, AT + timedelta(hours=73)):
        with pytest.raises(InvalidRequest):
            Urgency(may_wait=True, by=wrong).deadline(at=AT, usual=DAY)


def test_a_job_moves_up_with_time_to_be_answered():
    assert move_up_at(at=AT, deadline=AT + DAY) == AT + DAY - timedelta(minutes=20)
    assert move_up_at(at=AT, deadline=AT + timedelta(minutes=4)) == AT + timedelta(minutes=3)


def test_at_first_a_lane_takes_as_long_as_is_published():
    shares = [chance_within(hours * 3600, lane="batch") for hours in (0.1, 1, 24)]
    assert shares == sorted(shares)
    assert shares[0] < 0.3 < 0.6 < shares[1] < 0.97 < shares[2] < 1
    assert chance_within(0, lane="batch") == 0


def test_what_is_measured_soon_says_more_than_what_is_published():
    quick = with_delays([], [2.0] * 100)
    assert chance_within(60, lane="batch", counts=quick) > 0.9
    slow = with_delays([], [10 * 3600.0] * 100)
    assert chance_within(3600, lane="batch", counts=slow) < 0.1


def test_the_past_fades_and_the_histogram_stays_small():
    counts = with_delays([], [1.0] * 10_000)
    assert (len(counts), sum(counts) <= MOST_COUNTED) == (len(BUCKETS) + 1, True)
    for _ in range(10):
        counts = with_delays(counts, [1e6] * 400)
    assert counts[-1] / sum(counts) > 0.99
    assert chance_within(BUCKETS[-1], lane="batch", counts=counts) < 0.05


def offer(lane: str, cost: str, late: float) -> Offer:
    return Offer(lane, Decimal(cost), late)


def test_the_cheapest_lane_with_a_fair_chance_is_taken():
    online = offer("online", "2", 0.01)
    assert choose([offer("batch", "1", 0.5), online]).lane == "batch"
    assert choose([offer("batch", "1", 0.9), offer("flex", "1", 0.2), online]).lane == "flex"
    assert choose([offer("batch", "1", 0.9), online]).lane == "online"
    assert choose([offer("batch", "1", 0.99), offer("online", "2", 0.9)]).lane == "online"


def test_jobs_share_a_batch_while_they_fit_and_have_about_the_same_time():
    def rows(*hours: float):
        return [(number, AT + timedelta(hours=one), 100, 1_000) for number, one in enumerate(hours)]

    assert _first_alike(rows(1, 1.5, 2, 2.5), most_tokens=10_000, now=AT) == [0, 1, 2]
    assert _first_alike(rows(1, 1, 1), most_tokens=200, now=AT) == [0, 1]
    assert _first_alike(rows(1, 1), most_tokens=1, now=AT) == [0]
