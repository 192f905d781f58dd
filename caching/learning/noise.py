"""The noise of labels: how often the comparison of answers is wrong, estimated from its verdicts on repeats.

A repeat is the same question, answered twice by a provider. Both answers are right: a verdict that the cached one is
wrong is an error. Only this kind of error is visible. The other kind, accepting a wrong answer, is assumed to be as
frequent.

Invariant: never more than the evidence proves. A noise that is too high would loosen the bound on wrong hits. Therefore
the lower confidence limit of the rate is used, capped, and only from ENOUGH repeats on. Each question counts once, with
its latest verdict. Pure.
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
    """Questions that were answered twice, and how many of the second answers were judged to differ."""

    count: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise floor; `floor` is None with too few repeats. `source`: the repeats of the scope or of its route."""

    floor: float | None
    repeats: Repeats
    source: Source = ""

    @property
    def used(self) -> float:
        """The share of labels to assume wrong."""
        return self.floor or 0.0


def estimate(scope: Repeats, route: Repeats) -> Noise:
    """The noise from a scope's own repeats, otherwise from those of all the tenant's scopes of the same route."""
    if scope.count >= ENOUGH:
        return Noise(_floor(scope), scope, "scope")
    if route.count >= ENOUGH:
        return Noise(_floor(route), route, "route")
    return Noise(None, scope)


def _floor(repeats: Repeats) -> float:
    return min(MOST, lower_limit(repeats.wrong, repeats.count))


def lower_limit(wrong: int, of: int, *, confidence: float = CONFIDENCE) -> float:
    """The lower confidence limit of a share (Clopper-Pearson)."""
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
