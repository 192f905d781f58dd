"""How often the judge of answers is wrong, as its verdicts on repeats tell.

A repeat is the very same question, answered twice by a provider: two right answers, so whoever calls the cached one wrong
has erred. Only this kind of error is seen; the other, to pass a wrong answer, is taken to be as frequent.

Invariant: never more than the evidence proves. An over-estimated noise would loosen the bound on wrong hits, so what is
used is the lower confidence limit of the rate, capped, and nothing at all below so many repeats. Each question counts
once, by its latest verdict: one whose answer is another each time, asked however often, is one repeat. Pure.
"""

from dataclasses import dataclass
from typing import Literal

from caching.scoring.threshold import beta_cdf

CONFIDENCE = 0.95
ENOUGH = 50
MOST = 0.2

Source = Literal["", "scope", "route"]


@dataclass(frozen=True, slots=True)
class Repeats:
    """Questions that were answered twice, and how many of those second answers were judged to differ."""

    count: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Noise:
    """The judge's noise floor: `floor` is None where too few repeats are known to say, `source` whose they are."""

    floor: float | None
    repeats: Repeats
    source: Source = ""

    @property
    def used(self) -> float:
        """The share of labels to reckon with as wrongly judged."""
        return self.floor or 0.0


def estimate(scope: Repeats, route: Repeats) -> Noise:
    """The noise from a scope's own repeats, else from all that the tenant's scopes of the same route have."""
    if scope.count >= ENOUGH:
        return Noise(_floor(scope), scope, "scope")
    if route.count >= ENOUGH:
        return Noise(_floor(route), route, "route")
    return Noise(None, scope)


def _floor(repeats: Repeats) -> float:
    return min(MOST, lower_limit(repeats.wrong, repeats.count))


def lower_limit(wrong: int, of: int, *, confidence: float = CONFIDENCE) -> float:
    """The lower confidence limit of a share (Clopper and Pearson's): the rate below which so many would be a rare chance."""
    if not wrong:
        return 0.0
    low, high = 0.0, wrong / of
    for _ in range(40):
        middle = (low + high) / 2
        if beta_cdf(middle, wrong, of - wrong + 1) > 1 - confidence:
            high = middle
        else:
            low = middle
    return low
