"""Which lane a deferred call takes: the cheapest one that is likely enough to make its deadline.

Invariant: pure. What a cheap lane does not take on, or a batch does not answer in time, goes out in real time before the
deadline, and costs nothing but time. So a cheap lane is tried whenever it has a fair chance, as long as hardly a deadline is
missed by that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from billing.errors import ModelUnpriced
from billing.estimates.costs import expected_cost
from llm.calls.call import Call
from llm.deferred.delays import (
    NOTHING_SEEN,
    TAKEN_BACK,
    Delays,
    Seen,
    chance_never,
    chance_within,
    seconds_for,
)
from llm.providers.target import Target
from llm.steps.planning import PlannedAttempt

# of the APIs whose calls may be deferred
ENDPOINTS: Final = {
    "openai.chat": "/v1/chat/completions",
    "anthropic.messages": "/v1/messages",
    "openai.responses": "/v1/responses",
}
FAIR_CHANCE: Final = 0.1
MAY_MISS: Final = 0.01  # of the deadlines, where real time alone would not miss more
MOSTLY: Final = 0.9
_MARGINS: Final = tuple(
    2 * 1.15**power for power in range(50)
)  # seconds that are left for real time: 2 s to 31 min
SURE: Final = 0.99  # real time that is left is enough for so many of its answers


class NoSuchLane(LookupError):
    """The lane that was asked for is not offered, or has no fair chance."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One lane as it looked when the call was accepted."""

    lane: str
    expected_usd: Decimal  # with the real time that it needs where it is late
    late: float  # how likely its answer is not there when it has to be
    missed: float  # how likely the deadline is missed: it is late, and so is real time then
    seconds: float  # how long it has

    def to_json(self) -> dict[str, Any]:
        """As the job and its receipt show it: `llm.views.schemas.LaneOffer`."""
        return {
            "lane": self.lane,
            "expected_usd": f"{self.expected_usd:.12f}",
            "late": round(self.late, 4),
            "missed": round(self.missed, 4),
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Offer":
        """The offer of a job that was accepted before."""
        expected = Decimal(facts["expected_usd"])
        return cls(
            facts["lane"], expected, facts["late"], facts.get("missed", 0.0), facts.get("seconds", 0.0)
        )


def offers_for(
    call: Call, attempt: PlannedAttempt, *, deadline: datetime, delays: Delays, may_miss: float = MAY_MISS
) -> list[Offer]:
    """The lanes that the call can take, cheapest first. `may_miss`: of the deadlines."""
    target = attempt.target
    output = call.snapshot.estimates.usual_output_tokens(
        provider=target.provider, model=target.model, shape=attempt.estimate.shape
    )
    output = min(output or attempt.held_output_tokens, attempt.held_output_tokens)
    costs = {}
    for lane in _open_lanes(call, target):
        processing = attempt.rates.processing if lane == "online" else lane
        rates = call.snapshot.prices.rates(
            target.provider, target.model, at=call.received_at, processing=processing
        )
        costs[lane] = expected_cost(rates, input_tokens=attempt.estimate.counted_tokens, output_tokens=output)
    return judge(
        costs,
        seconds=(deadline - call.received_at).total_seconds(),
        gathering=call.policy.deferred.max_age_seconds,
        seen=lambda lane: delays.get((target.provider, target.model, lane), NOTHING_SEEN),
        may_miss=may_miss,
    )


def judge(
    costs: Mapping[str, Decimal],
    *,
    seconds: float,
    gathering: float,
    seen: Callable[[str], Seen],
    may_miss: float = MAY_MISS,
) -> list[Offer]:
    """The lanes with what they cost, for a call that has so many seconds; cheapest first, and of equal ones the surest."""
    missed = 1 - chance_within(seconds, lane="online", seen=seen("online"))
    offers = [Offer("online", costs["online"], missed, missed, seconds)]
    if "batch" in costs:
        batch = _batch(seconds, gathering=gathering, may_miss=max(may_miss, missed), seen=seen)
        expected = _mixed(costs["batch"], costs["online"], share=batch.late)
        offers.append(replace(batch, expected_usd=expected))
    if "flex" in costs:
        next_one = offers[-1] if offers[-1].late < 1 else offers[0]
        offers.append(_flex(costs["flex"], seconds, next_one=next_one, seen=seen("flex")))
    return sorted(offers, key=lambda offer: (offer.expected_usd, offer.missed))


def _flex(cost: Decimal, seconds: float, *, next_one: Offer, seen: Seen) -> Offer:
    """Flex has all of the time: what it has taken on is not sent again. What it has no room for comes back at once, and takes
    the next lane."""
    late, never = 1 - chance_within(seconds, lane="flex", seen=seen), chance_never(lane="flex", seen=seen)
    expected = _mixed(cost, next_one.expected_usd, share=never)
    return Offer("flex", expected, late, max(0.0, late - never) + never * next_one.missed, seconds)


def _mixed(cost: Decimal, other: Decimal, *, share: float) -> Decimal:
    return cost * (1 - Decimal(share)) + other * Decimal(share)


def _batch(seconds: float, *, gathering: float, may_miss: float, seen: Callable[[str], Seen]) -> Offer:
    """A batch has as much of the time as leaves enough to take it back, and for real time; none where nothing is enough."""
    sure = seconds_for(SURE, lane="online", seen=seen("online"))
    for margin in _MARGINS:
        if margin >= seconds:
            break
        late = 1 - chance_within(seconds - margin - gathering, lane="batch", seen=seen("batch"))
        too_late = 1 - SURE * chance_within(margin - sure, lane=TAKEN_BACK, seen=seen(TAKEN_BACK))
        if late * too_late <= may_miss:
            return Offer("batch", Decimal(0), late, late * too_late, seconds - margin)
    return Offer("batch", Decimal(0), late=1.0, missed=1.0, seconds=0.0)


def choose(offers: list[Offer]) -> Offer:
    """The cheapest lane with a fair chance that hardly adds to the deadlines missed; else real time."""
    online = next(offer for offer in offers if offer.lane == "online")
    for offer in offers:
        if 1 - offer.late >= FAIR_CHANCE and offer.missed <= max(MAY_MISS, online.missed):
            return offer
    return online


def only_batch(offers: list[Offer]) -> Offer:
    """The batch, for what is not worth another lane; raises NoSuchLane."""
    batch = next((offer for offer in offers if offer.lane == "batch"), None)
    if batch is None or 1 - batch.late < FAIR_CHANCE:
        raise NoSuchLane("there is no batch that would answer it in time")
    return batch


def move_up_at(offer: Offer, *, at: datetime) -> datetime:
    """When a job that takes this lane goes out in real time at the latest."""
    return at + timedelta(seconds=offer.seconds)


def next_after_flex(offers: list[Offer], *, at: datetime, now: datetime) -> datetime | None:
    """Until when a batch may take a job that the provider had no room for in flex; None if it goes out in real time."""
    batch = next((offer for offer in offers if offer.lane == "batch"), None)
    if batch is None or 1 - batch.late < FAIR_CHANCE:
        return None
    # it had all of that time when it was judged: most of it has to be left
    until = move_up_at(batch, at=at)
    return until if until - now >= MOSTLY * (until - at) else None


def _open_lanes(call: Call, target: Target) -> list[str]:
    lanes = ["online"]
    if target.kind.batches is not None and not _carries_features(call) and _is_priced(call, target, "batch"):
        lanes.append("batch")
    speaks_flex = target.speaks(call.wire.api) and call.wire.api in target.kind.flex
    if speaks_flex and not call.facts.service_tier and _is_priced(call, target, "flex"):
        lanes.append("flex")
    return lanes


def _carries_features(call: Call) -> bool:
    """Whether its headers ask for what a line of a batch cannot: it has no headers."""
    return any(name.endswith("-beta") for name in call.passed_on)


def _is_priced(call: Call, target: Target, processing: str) -> bool:
    try:
        call.snapshot.prices.rates(target.provider, target.model, at=call.received_at, processing=processing)
    except ModelUnpriced:
        return False
    return True
