"""A month of deferred calls, through the product's own choice of lanes, gathering and learning, on a clock that is an argument.

Invariant: nothing sleeps, and nothing is chosen here: `judge`, `choose`, `move_up_at`, `first_alike` and `Seen` are the
product's.
"""

import heapq
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from benchmarks.deferred.providers import DAY, HOUR, WINDOW_SECONDS, Provider
from llm.deferred.delays import NOTHING_SEEN, TAKEN_BACK, Seen
from llm.deferred.lanes import Offer, choose, judge, move_up_at, next_after_flex
from llm.jobs.gathering import first_alike

DAYS = 30
START = datetime(2026, 11, 1, tzinfo=UTC)
MAX_JOBS, MAX_AGE_SECONDS, MAX_TOKENS = 1_000, 30, 2_000_000  # the policy's defaults
COSTS = {"online": Decimal(2), "batch": Decimal(1)}
FLEX_COSTS = COSTS | {"flex": Decimal(1)}
# how long clients can wait, and how many of them
DEADLINES = (
    (2 * 60, 5),
    (10 * 60, 10),
    (30 * 60, 10),
    (HOUR, 15),
    (2 * HOUR, 15),
    (6 * HOUR, 15),
    (24 * HOUR, 30),
)


@dataclass(slots=True)
class Job:
    """A deferred call and what became of it, in seconds of the month and in prices of a call."""

    number: int
    at: float
    seconds: float
    offers: list[Offer]
    offer: Offer
    move_up: float
    answered_at: float = 0.0
    cost: Decimal = Decimal(0)
    was_late: bool = False

    @property
    def deadline(self) -> float:
        return self.at + self.seconds

    @property
    def is_missed(self) -> bool:
        return self.answered_at > self.deadline


@dataclass(slots=True)
class Month:
    """The events of a provider's month in their order, and what the product has learnt by then."""

    provider: Provider
    jobs_a_day: float
    seed: int
    jobs: list[Job] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    batches: int = 0
    _seen: dict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))
    _events: list[tuple[float, int, object]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    @property
    def costs(self) -> dict[str, Decimal]:
        return FLEX_COSTS if self.provider.flex_refused else COSTS

    def run(self) -> "Month":
        """Every job of the month, until the last one is answered."""
        chance = random.Random(self.seed)
        deadlines, weights = zip(*DEADLINES, strict=True)
        at, number = 0.0, 0
        while (at := at + chance.expovariate(self.jobs_a_day / DAY)) < DAYS * DAY:
            number += 1
            self._on(at, ("job", number, float(chance.choices(deadlines, weights)[0])))
        while self._events:
            now, _, event = heapq.heappop(self._events)
            self._happens(now, event)
        return self

    def _on(self, at: float, event: object) -> None:
        heapq.heappush(self._events, (at, next(self._order), event))

    def _happens(self, now: float, event: object) -> None:
        match event:
            case ("job", int(number), float(seconds)):
                self._accept(number, now, seconds)
            case ("gather",):
                self._gather(now)
            case ("answered", str(lane), list(jobs), float(began)):
                self._learn(lane, now - began, is_answered=True)
                for job in jobs:
                    job.answered_at, job.cost = now, self.costs[lane]
                    job.was_late |= lane == job.offer.lane and job.is_missed
            case ("given up", list(jobs), float(began)):
                self._learn("batch", now - began, is_answered=False)
                for job in jobs:
                    job.was_late = True
                self._on(now + self.provider.taking_back(now), ("taken back", jobs, now))
            case ("refused", Job() as job):
                self._learn("flex", math.inf, is_answered=True)
                job.was_late = True
                self._go_on_after_flex(job, now)
            case ("taken back", list(jobs), float(began)):
                self._learn(TAKEN_BACK, now - began, is_answered=True)
                for job in jobs:
                    self._go_online(job, now)

    def _accept(self, number: int, now: float, seconds: float) -> None:
        offers = judge(
            self.costs,
            seconds=seconds,
            gathering=MAX_AGE_SECONDS,
            seen=lambda lane: self._seen.get(lane, NOTHING_SEEN),
        )
        offer = choose(offers)
        job = Job(
            number, now, seconds, offers, offer, (move_up_at(offer, at=_moment(now)) - START).total_seconds()
        )
        self.jobs.append(job)
        if offer.lane == "batch":
            self.waiting.append(job)
            self._on(now + MAX_AGE_SECONDS, ("gather",))
        elif offer.lane == "online":
            self._go_online(job, now)
        elif (taken := self.provider.flex(number)) == math.inf:
            self._on(now, ("refused", job))
        else:
            self._on(now + taken, ("answered", "flex", [job], now))

    def _go_on_after_flex(self, job: Job, now: float) -> None:
        """What flex refuses has all of its time left for a batch."""
        if (batch := next_after_flex(job.offers, at=_moment(job.at), now=_moment(now))) is None:
            self._go_online(job, now)
            return
        job.move_up = (batch - START).total_seconds()
        self.waiting.append(job)
        self._on(now + MAX_AGE_SECONDS, ("gather",))

    def _go_online(self, job: Job, now: float) -> None:
        self._on(now + self.provider.online(job.number), ("answered", "online", [job], now))

    def _gather(self, now: float) -> None:
        """What the product does when the oldest job that waits is old enough; further batches for those that are not alike."""
        if not any(job.at <= now - MAX_AGE_SECONDS + 1e-6 for job in self.waiting):
            return
        self.waiting.sort(key=lambda job: (job.move_up, job.number))
        rows = [(job.number, _moment(job.move_up), 2_000, 10_000) for job in self.waiting[:MAX_JOBS]]
        chosen = set(first_alike(rows, most_tokens=MAX_TOKENS, now=_moment(now)))
        jobs = [job for job in self.waiting if job.number in chosen]
        self.waiting = [job for job in self.waiting if job.number not in chosen]
        self.batches += 1
        taken, until = self.provider.batch(now), min(min(job.move_up for job in jobs), now + WINDOW_SECONDS)
        if now + taken <= until:
            self._on(now + taken, ("answered", "batch", jobs, now))
        else:
            self._on(until, ("given up", jobs, now))
        self._gather(now)

    def _learn(self, lane: str, seconds: float, *, is_answered: bool) -> None:
        self._seen[lane] = self._seen[lane].with_delay(seconds, lane=lane, is_answered=is_answered)


def clairvoyant_cost(month: Month, job: Job) -> Decimal:
    """What the job costs for one that knows how long each lane will take, needs no margin, and gathers as the product does."""
    lanes = {"online": 0.0, "batch": MAX_AGE_SECONDS + month.provider.batch(job.at + MAX_AGE_SECONDS)}
    if "flex" in month.costs:
        lanes["flex"] = month.provider.flex(job.number)
    return min(
        month.costs[lane]
        for lane, taken in lanes.items()
        if lane == "online" or taken <= min(job.seconds, WINDOW_SECONDS)
    )


def _moment(at: float) -> datetime:
    return START + timedelta(seconds=at)
