"""Which lane a call takes, how delays are learnt, and what a deadline means: all pure."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from llm.calls.urgency import NOW, Urgency, parse_urgency
from llm.deferred.delays import BUCKETS, NOTHING_SEEN, Seen, chance_never, chance_within, seconds_for
from llm.deferred.lanes import Offer, choose, judge, move_up_at, next_after_flex
from llm.errors import InvalidRequest
from llm.jobs.gathering import first_alike

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
        ("BY = 2026-12-01t04:00:00-05:00", Urgency(may_wait=True, by=AT + timedelta(hours=1))),
    ],
)
def test_it_works(value, urgency):
    assert parse_urgency(value) == urgency


def test_an_hour_that_comes_twice_is_told_apart_by_its_offset():
    summer, winter = (parse_urgency(f"by=2026-10-25T02:30:00{offset}").by for offset in ("+02:00", "+01:00"))
    assert winter - summer == timedelta(hours=1)


def test_a_deadline_is_named_or_the_usual_one():
    assert Urgency(may_wait=True).deadline(at=AT, usual=DAY) == AT + DAY
    assert Urgency(may_wait=True, within=timedelta(hours=1)).deadline(at=AT, usual=DAY) == AT + timedelta(
        hours=1
    )
    for wrong in (AT, AT + timedelta(hours=73)):
        with pytest.raises(InvalidRequest):
            Urgency(may_wait=True, by=wrong).deadline(at=AT, usual=DAY)


def test_at_first_a_lane_takes_as_long_as_is_published():
    shares = [chance_within(hours * 3600, lane="batch") for hours in (0.1, 1, 24)]
    assert shares == sorted(shares)
    assert shares[0] < 0.3 < 0.6 < shares[1] < 0.97 < shares[2] < 1
    assert chance_within(0, lane="batch") == 0


def seen(*delays: float, lane: str = "batch", is_answered: bool = True, after: Seen = NOTHING_SEEN) -> Seen:
    for seconds in delays:
        after = after.with_delay(seconds, lane=lane, is_answered=is_answered)
    return after


def test_what_is_measured_soon_says_more_than_what_is_published():
    assert chance_within(60, lane="batch", seen=seen(*[2.0] * 40)) > 0.8
    assert chance_within(3600, lane="batch", seen=seen(*[10 * 3600.0] * 40)) < 0.15


def test_one_odd_batch_moves_little():
    before, after = (chance_within(3600, lane="batch", seen=one) for one in (NOTHING_SEEN, seen(20 * 3600.0)))
    assert before > after > before - 0.2


def test_the_past_fades_and_the_histogram_stays_small():
    was_quick = seen(*[1.0] * 1_000)
    assert len(was_quick.answered) == len(BUCKETS) + 1
    assert sum(was_quick.answered) <= 40.5
    is_slow = seen(*[6 * 3600.0] * 60, after=was_quick)
    assert chance_within(3600, lane="batch", seen=is_slow) < 0.35
    assert chance_within(3600, lane="batch", seen=seen(*[6 * 3600.0] * 200, after=was_quick)) < 0.12


def test_what_was_given_up_says_nothing_of_what_comes_after():
    given_up = seen(*[600.0] * 30, is_answered=False)
    assert chance_within(600, lane="batch", seen=given_up) < 0.1
    # of those that go on, as many answer within the day as is published
    alone = (chance_within(86_400, lane="batch") - chance_within(600, lane="batch")) / (
        1 - chance_within(600, lane="batch")
    )
    later = (
        chance_within(86_400, lane="batch", seen=given_up) - chance_within(600, lane="batch", seen=given_up)
    ) / (1 - chance_within(600, lane="batch", seen=given_up))
    assert abs(later - alone) < 0.05


def test_what_has_no_room_never_answers():
    half_full = seen(*[30.0, math.inf] * 100, lane="flex")
    assert 0.4 < chance_never(lane="flex", seen=half_full) < 0.6
    assert chance_within(36 * 3600, lane="flex", seen=half_full) < 0.6


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9, 0.99])
def test_the_time_for_a_chance_has_that_chance(chance):
    for one in (NOTHING_SEEN, seen(*[3.0, 4.0, 9.0] * 50, lane="online")):
        seconds = seconds_for(chance, lane="online", seen=one)
        assert abs(chance_within(seconds, lane="online", seen=one) - chance) < 0.01


COSTS = {"online": Decimal(2), "batch": Decimal(1), "flex": Decimal(1)}


def judged(seconds: float, costs=COSTS, gathering: float = 0, **lanes: Seen) -> dict[str, Offer]:
    offers = judge(
        costs, seconds=seconds, gathering=gathering, seen=lambda lane: lanes.get(lane, NOTHING_SEEN)
    )
    return {offer.lane: offer for offer in offers}


def chosen(seconds: float, costs=COSTS, **lanes: Seen) -> str:
    return choose(list(judged(seconds, costs, **lanes).values())).lane


def test_the_cheapest_lane_is_taken_that_hardly_misses_a_deadline():
    without_flex = {"online": Decimal(2), "batch": Decimal(1)}
    assert chosen(24 * 3600) == "flex"  # as cheap as a batch, and surer
    assert chosen(24 * 3600, without_flex) == "batch"
    assert chosen(24 * 3600, without_flex | {"flex": Decimal("0.5")}) == "flex"
    assert chosen(3600, without_flex) == "batch"
    assert chosen(60, without_flex) == "online"
    assert chosen(60) == "online"  # flex would answer, often too late
    assert chosen(2, without_flex) == "online"
    assert chosen(24 * 3600, {"online": Decimal(2)}) == "online"
    assert chosen(24 * 3600, COSTS, flex=seen(*[math.inf] * 400, lane="flex")) == "batch"
    assert chosen(900, without_flex, batch=seen(*[30 * 3600.0] * 300)) == "online"


def test_an_offer_says_what_it_costs_with_its_way_in_real_time():
    batch = judged(3600)["batch"]
    assert batch.expected_usd == 1 + Decimal(batch.late)
    assert 0 < batch.missed <= 0.01 < batch.late < 1
    assert 3000 < batch.seconds < 3600
    assert judged(30)["batch"].late == 1


def test_a_batch_has_more_of_the_time_where_it_is_quickly_taken_back():
    quick = judged(3600, back=seen(*[5.0] * 40, lane="back"))["batch"]
    slow = judged(3600, back=seen(*[590.0] * 40, lane="back"))["batch"]
    assert slow.seconds < judged(3600)["batch"].seconds < quick.seconds


def test_a_job_moves_up_when_its_lane_has_had_its_time():
    offer = Offer("batch", Decimal(1), 0.5, 0.01, seconds=3000)
    assert move_up_at(offer, at=AT) == AT + timedelta(seconds=3000)


def test_what_flex_has_no_room_for_has_a_batchs_time():
    offers = list(judged(3600).values())
    assert [Offer.from_json(offer.to_json()).lane for offer in offers] == [offer.lane for offer in offers]
    soon, late = AT + timedelta(seconds=20), AT + timedelta(seconds=900)
    until = next_after_flex(offers, at=AT, now=soon)
    assert until is not None
    assert AT + timedelta(seconds=3000) < until < AT + timedelta(seconds=3600)
    assert next_after_flex(offers, at=AT, now=late) is None
    assert next_after_flex([offer for offer in offers if offer.lane != "batch"], at=AT, now=soon) is None


def test_jobs_share_a_batch_while_they_fit_and_have_about_the_same_time():
    def rows(*hours: float):
        return [(number, AT + timedelta(hours=one), 100, 1_000) for number, one in enumerate(hours)]

    assert first_alike(rows(1, 1.1, 1.25, 1.3), most_tokens=10_000, now=AT) == [0, 1, 2]
    assert first_alike(rows(1, 1, 1), most_tokens=200, now=AT) == [0, 1]
    assert first_alike(rows(1, 1), most_tokens=1, now=AT) == [0]
