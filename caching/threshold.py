"""Finds the certainty from which on a scope's answers may be reused, from judged pairs.

Invariant: closed unless the evidence speaks for open. A threshold is returned only if, with the stated confidence, at
most `max_error_rate` of the answers served above it would be wrong, over the whole window and, as far as the newest
labels can tell, at present. Pure.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.90
WINDOW = 4_000
# Below this similarity no label is collected and nothing is ever served.
FLOOR = 0.70
# How many of the newest labels above a threshold must not speak against it. They tell of drift long before the window
# does.
RECENT = 60
_STRATA = 8
_LEAST_IN_STRATUM = 25
_CUTS = 60


@dataclass(frozen=True, slots=True)
class Label:
    """One judged pair: how certain the cache was, whether it would have been wrong, for how many it stands."""

    certainty: float
    is_wrong: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Threshold:
    """`certainty` None means closed. The rates are of the labels at and above it, or of all when closed."""

    certainty: float | None
    error_rate: float | None
    error_rate_upper: float | None
    labels: int

    @property
    def is_open(self) -> bool:
        return self.certainty is not None


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A rate, and how many plain labels would tell it as well."""

    rate: float
    size: float

    def chance_within(self, bound: float) -> float:
        """How probable it is that the true rate is within the bound."""
        return _beta_cdf(bound, self.rate * self.size + 1, (1 - self.rate) * self.size)

    def upper(self, confidence: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            if self.chance_within(middle) >= confidence:
                high = middle
            else:
                low = middle
        return high


def find_threshold(
    labels: Sequence[Label], *, max_error_rate: float, confidence: float = CONFIDENCE
) -> Threshold:
    """The lowest threshold within the bound, of labels in the order in which they came."""
    if not labels:
        return Threshold(None, None, None, 0)
    ranked = sorted(range(len(labels)), key=lambda place: -labels[place].certainty)
    ordered = [labels[place] for place in ranked]
    for size in reversed(_cuts(ordered)):
        estimate = _estimate(ordered[:size])
        if (
            estimate.rate <= max_error_rate
            and estimate.chance_within(max_error_rate) >= confidence
            and not _has_drifted(labels, ranked[:size], max_error_rate, confidence)
        ):
            upper = estimate.upper(confidence)
            return Threshold(max(ordered[size - 1].certainty, 1e-9), estimate.rate, upper, size)
    estimate = _estimate(ordered)
    return Threshold(None, estimate.rate, estimate.upper(confidence), len(ordered))


def _cuts(ordered: Sequence[Label]) -> list[int]:
    """How many labels to try above the threshold; equal certainties are never parted."""
    count = len(ordered)
    ends = [
        place + 1
        for place in range(count)
        if place + 1 == count or ordered[place + 1].certainty < ordered[place].certainty
    ]
    wanted = (round(10 * (max(count, 10) / 10) ** (step / _CUTS)) for step in range(_CUTS + 1))
    return sorted({ends[min(bisect_left(ends, size), len(ends) - 1)] for size in wanted})


def _estimate(chosen: Sequence[Label]) -> _Estimate:
    """The rate of wrong answers among requests, from labels that over-represent some of them.

    Checked hits stand for many requests, misses for one. Weighting each label would let the few checks drown the rest;
    instead the weights say only how many requests fall into each stratum of certainty, and within one all labels count
    alike.
    """
    count = len(chosen)
    strata = max(1, min(_STRATA, count // _LEAST_IN_STRATUM))
    total = math.fsum(label.weight for label in chosen)
    rate = spread = 0.0
    for number in range(strata):
        part = chosen[count * number // strata : count * (number + 1) // strata]
        share = math.fsum(label.weight for label in part) / total
        rate += share * sum(label.is_wrong for label in part) / len(part)
        spread += share * share / len(part)
    return _Estimate(rate, 1 / spread)


def _has_drifted(labels: Sequence[Label], chosen: Sequence[int], bound: float, confidence: float) -> bool:
    """Whether the newest of the chosen labels show, with confidence, more wrong answers than the bound."""
    newest = sorted(chosen)[-RECENT:]
    wrong = sum(labels[place].is_wrong for place in newest)
    return wrong > 0 and _beta_cdf(bound, wrong, len(newest) - wrong + 1) <= 1 - confidence


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz)."""
    if x <= 0:
        return 0.0
    if x >= 1 or b <= 0:
        return 1.0 if x >= 1 else 0.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    result = d
    for step in range(1, 300):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for part in (even, odd):
            d = 1 + part * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + part / c
            c = c if abs(c) > tiny else tiny
            result *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return front * result / a
