"""How long the answers of a lane take: a histogram of delays for each model, which begins as providers publish them.

Invariant: pure but for `known_delays`, which reads the table at most once a minute; the past fades with each observation, so
that a histogram stays small and follows its provider. A lane that was given up counts as one that took longer than that: what
it would have taken is not guessed. One that had no room counts as one that takes for ever.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from config import resources
from config.values import value_type

# the ends of the buckets, in seconds: half as long again each time, from 1 s to 58 h; the last one has no end
BUCKETS: Final = tuple(1.5**power for power in range(31))
PRIOR_WEIGHT: Final = 5.0  # observations that the published delays count for

TAKEN_BACK: Final = "back"  # not a lane, but as slow as one: how long a provider takes to cancel a batch

# median and spread (of the logarithm) of the delays that providers publish and users report
_PUBLISHED: Final = {
    "batch": (1_200.0, 1.8),
    "flex": (30.0, 1.2),
    "online": (5.0, 0.9),
    TAKEN_BACK: (60.0, 1.0),
}
# how many observations are remembered: a batch is one, and comes seldom
_REMEMBERED: Final = {"batch": 40.0, "flex": 200.0, "online": 500.0, TAKEN_BACK: 40.0}
_SECONDS_KEPT: Final = 60.0

SELECT: Final = "SELECT provider, model, lane, answered, given_up FROM llm_lanedelay"


@value_type
class Seen:
    """What was observed of one lane: how many were answered in each bucket, and how many were given up there."""

    answered: tuple[float, ...] = ()
    given_up: tuple[float, ...] = ()

    def with_delay(self, seconds: float, *, lane: str, is_answered: bool) -> "Seen":
        """The same with one more observation, in which all earlier ones have faded a little."""
        kept = 1 - 1 / _REMEMBERED[lane]
        columns = [[kept * count for count in _padded(column)] for column in (self.answered, self.given_up)]
        columns[0 if is_answered else 1][_bucket(seconds)] += 1
        return Seen(*map(tuple, columns))


NOTHING_SEEN: Final = Seen()
Delays = Mapping[tuple[str, str, str], Seen]

_known: tuple[float, Delays] = (-math.inf, {})


async def known_delays() -> Delays:
    """The histograms by provider, model and lane, as of a minute ago at most."""
    global _known
    read_at, delays = _known
    if time.monotonic() - read_at > _SECONDS_KEPT:
        async with resources.db.connection() as connection:
            rows: list[Any] = await (await connection.execute(SELECT)).fetchall()
        delays = {
            (provider, model, lane): Seen(tuple(answered), tuple(given_up))
            for provider, model, lane, answered, given_up in rows
        }
        _known = time.monotonic(), delays
    return delays


def chance_within(seconds: float, *, lane: str, seen: Seen = NOTHING_SEEN) -> float:
    """How likely an answer of that lane is there after so many seconds; within a bucket they come at an even rate."""
    if seconds <= 0:
        return 0.0
    missed = _missed(lane, seen)
    index = bisect_left(BUCKETS, seconds)
    before = missed[index - 1] if index else 1.0
    if index == len(BUCKETS):
        return 1 - before
    start = BUCKETS[index - 1] if index else 0.0
    share = (seconds - start) / (BUCKETS[index] - start)
    return 1 - math.pow(before, 1 - share) * math.pow(missed[index], share)


def chance_never(*, lane: str, seen: Seen = NOTHING_SEEN) -> float:
    """How likely that lane does not answer at all: it has no room."""
    return _missed(lane, seen)[-1]


def seconds_for(chance: float, *, lane: str, seen: Seen = NOTHING_SEEN) -> float:
    """By when an answer of that lane is there with that chance; infinite if it never is."""
    before, start = 1.0, 0.0
    for end, missed in zip(BUCKETS, _missed(lane, seen), strict=True):
        if 1 - missed >= chance:
            share = math.log((1 - chance) / before) / math.log(missed / before) if missed else 1.0
            return start + (end - start) * share
        before, start = missed, end
    return math.inf


@lru_cache(maxsize=1024)
def _missed(lane: str, seen: Seen) -> tuple[float, ...]:
    """How likely a lane has not answered by the end of each bucket.

    The product-limit estimate of Kaplan and Meier, with the published delays as so many observations more: whatever was given
    up counts until then, and says nothing of what comes after.
    """
    answered, given_up = _padded(seen.answered), _padded(seen.given_up)
    at_risk, missed = sum(answered) + sum(given_up), 1.0
    found = []
    for index, (start, end) in enumerate(pairwise((0.0, *BUCKETS))):
        later = 1 - _published_share(lane, start)
        expected = _published_share(lane, end) - _published_share(lane, start)
        # what was given up in a bucket was there for half of it
        exposed = at_risk - given_up[index] / 2 + PRIOR_WEIGHT * later
        hazard = (answered[index] + PRIOR_WEIGHT * expected) / exposed if exposed > 0 else 0.0
        missed *= 1 - min(1.0, max(0.0, hazard))
        found.append(missed)
        at_risk -= answered[index] + given_up[index]
    return tuple(found)


def _padded(counts: Sequence[float]) -> list[float]:
    return [*counts, *[0.0] * (len(BUCKETS) + 1 - len(counts))][: len(BUCKETS) + 1]


def _bucket(seconds: float) -> int:
    return bisect_left(BUCKETS, seconds)


def _published_share(lane: str, seconds: float) -> float:
    """The share of a log-normal distribution."""
    if seconds <= 0:
        return 0.0
    median, spread = _PUBLISHED[lane]
    return 0.5 * (1 + math.erf(math.log(seconds / median) / (spread * math.sqrt(2))))
