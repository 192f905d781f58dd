"""How long the answers of a lane take: a histogram of delays for each model, which begins as providers publish them.

Invariant: pure but for `known_delays`, which reads the table at most once a minute; the past fades, so that a histogram stays
small and follows its provider.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from config import resources

# the upper ends of the buckets, in seconds: twice as long each, from 1 s to 36 h; the last one has no end
BUCKETS: Final = tuple(2.0**power for power in range(18))
MOST_COUNTED: Final = 500.0  # then all counts are halved
PRIOR_WEIGHT: Final = 5.0  # answers that the published delays count for

# median and spread (of the logarithm) of the delays that providers publish and users report
_PUBLISHED: Final = {"batch": (1_200.0, 1.8), "flex": (30.0, 1.2), "online": (5.0, 0.9)}
_SECONDS_KEPT: Final = 60.0

SELECT: Final = "SELECT provider, model, lane, counts FROM llm_lanedelay"

Delays = Mapping[tuple[str, str, str], Sequence[float]]

_known: tuple[float, Delays] = (-math.inf, {})


async def known_delays() -> Delays:
    """The histograms by provider, model and lane, as of a minute ago at most."""
    global _known
    read_at, delays = _known
    if time.monotonic() - read_at > _SECONDS_KEPT:
        async with resources.db.connection() as connection:
            rows: list[Any] = await (await connection.execute(SELECT)).fetchall()
        delays = {(provider, model, lane): counts for provider, model, lane, counts in rows}
        _known = time.monotonic(), delays
    return delays


def chance_within(seconds: float, *, lane: str, counts: Sequence[float] = ()) -> float:
    """How likely an answer of that lane is there after so many seconds; within a bucket delays count as spread evenly."""
    if seconds <= 0:
        return 0.0
    prior = _published_share(lane, seconds)
    total = sum(counts)
    return (PRIOR_WEIGHT * prior + _counted_within(seconds, counts)) / (PRIOR_WEIGHT + total)


def with_delays(counts: Sequence[float], delays: Sequence[float]) -> list[float]:
    """The histogram with further delays, in seconds."""
    added = [*counts, *[0.0] * (len(BUCKETS) + 1 - len(counts))]
    for seconds in delays:
        bucket = next((index for index, end in enumerate(BUCKETS) if seconds <= end), len(BUCKETS))
        added[bucket] += 1
    while sum(added) > MOST_COUNTED:
        added = [count / 2 for count in added]
    return added


def _counted_within(seconds: float, counts: Sequence[float]) -> float:
    found, start = 0.0, 0.0
    for count, end in zip(counts, BUCKETS, strict=False):
        if seconds >= end:
            found += count
        else:
            return found + count * (seconds - start) / (end - start)
        start = end
    return found


def _published_share(lane: str, seconds: float) -> float:
    """The share of a log-normal distribution."""
    median, spread = _PUBLISHED[lane]
    return 0.5 * (1 + math.erf(math.log(seconds / median) / (spread * math.sqrt(2))))
