"""Which lane a deferred call takes: the cheapest one that is likely enough to make its deadline.

Invariant: pure. A lane that is late costs nothing but time: what it does not answer in time goes out in real time before the
deadline. So a cheap lane is tried whenever it has a fair chance.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from billing.errors import ModelUnpriced
from billing.estimates.costs import expected_cost
from llm.calls.call import Call
from llm.deferred.delays import Delays, chance_within
from llm.providers.target import Target
from llm.steps.planning import PlannedAttempt

FAIR_CHANCE: Final = 0.25
# of the APIs whose calls may be deferred
ENDPOINTS: Final = {
    "openai.chat": "/v1/chat/completions",
    "anthropic.messages": "/v1/messages",
    "openai.responses": "/v1/responses",
}
LONGEST_MARGIN: Final = timedelta(minutes=20)  # to take a batch back, and to be answered in real time
SHARE_OF_THE_TIME: Final = 4


@dataclass(frozen=True, slots=True)
class Offer:
    """One lane as it looked when the call was accepted."""

    lane: str
    expected_usd: Decimal
    late: float  # how likely its answer is not there when it has to be

    def to_json(self) -> dict[str, Any]:
        """As the job and its receipt show it: `llm.views.schemas.LaneOffer`."""
        return {"lane": self.lane, "expected_usd": f"{self.expected_usd:.12f}", "late": round(self.late, 4)}


def move_up_at(*, at: datetime, deadline: datetime) -> datetime:
    """When a job goes out in real time at the latest."""
    return deadline - min(LONGEST_MARGIN, (deadline - at) / SHARE_OF_THE_TIME)


def offers_for(
    call: Call, attempt: PlannedAttempt, *, seconds: float, seconds_online: float, delays: Delays
) -> list[Offer]:
    """The lanes that the call can take, cheapest first. `seconds` is what a cheap lane has, `seconds_online` the dearest."""
    target = attempt.target
    gathering = call.policy.deferred.max_age_seconds
    output = call.snapshot.estimates.usual_output_tokens(
        provider=target.provider, model=target.model, shape=attempt.estimate.shape
    )
    output = min(output or attempt.held_output_tokens, attempt.held_output_tokens)
    times = {"batch": seconds - gathering, "flex": seconds, "online": seconds_online}
    offers = []
    for lane in _open_lanes(call, target):
        processing = attempt.rates.processing if lane == "online" else lane
        rates = call.snapshot.prices.rates(
            target.provider, target.model, at=call.received_at, processing=processing
        )
        cost = expected_cost(rates, input_tokens=attempt.estimate.counted_tokens, output_tokens=output)
        counts = delays.get((target.provider, target.model, lane), ())
        chance = chance_within(times[lane], lane=lane, counts=counts)
        offers.append(Offer(lane, cost, 1 - chance))
    return sorted(offers, key=lambda offer: offer.expected_usd)


def choose(offers: list[Offer]) -> Offer:
    """The cheapest lane with a fair chance; the surest where none has one."""
    fair = (offer for offer in offers if 1 - offer.late >= FAIR_CHANCE)
    return next(fair, None) or min(offers, key=lambda offer: offer.late)


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
