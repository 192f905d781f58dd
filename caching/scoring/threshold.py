"""Computes the certainty from which a scope's answers may be reused, from judged pairs.

Invariant: a scope is closed unless the evidence allows opening it. A threshold is returned only if, with the given
confidence, at most `max_error_rate` of the answers served above it would be wrong: over the whole window and, as far as
the newest labels show, at present. Pure.

Labels may be wrong themselves. A judge that is wrong in a share `noise` of the cases, in both directions, turns a true
error rate p into an observed rate p + noise (1 - 2p). The labels are not corrected. Instead the tolerated rate is, so
that the test keeps the full uncertainty of the labels. A noise that is too high would loosen the bound: the caller
passes a lower bound of the judge's noise, from `caching.learning.noise`.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.90
WINDOW = 4_000
# Below this similarity no label is collected and nothing is ever served.
FLOOR = 0.70
# The newest labels above a threshold must not contradict it. They show drift long before the whole window does.
RECENT = 60
_STRATA = 8
_LEAST_IN_STRATUM = 25
_CUTS = 60


@dataclass(frozen=True, slots=True)
class Label:
    """One judged pair: the cache's certainty, whether the answer was wrong, and how many requests it represents."""

    certainty: float
    is_wrong: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Threshold:
    """`certainty` None means closed. The rates are of the labels at and above it (all when closed), minus the noise."""

    certainty: float | None
    error_rate: float | None
    error_rate_upper: float | None
    labels: int

    @property
    def is_open(self) -> bool:
        return self.certainty is not None


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A rate, and the number of unweighted labels that would give the same precision."""

    rate: float
    size: float

    def chance_within(self, bound: float) -> float:
        """How probable it is that the true rate is within the bound."""
        return beta_cdf(bound, self.rate * self.size + 1, (1 - self.rate) * self.size)

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
    labels: Sequence[Label], *, max_error_rate: float, confidence: float = CONFIDENCE, noise: float = 0.0
) -> Threshold:
    """The lowest threshold within the bound. `labels` are in order of arrival.

    `noise`, in [0, 0.5), is the share of labels that are known to be wrong, in either direction.
    """
    if not labels:
        return Threshold(None, None, None, 0)
    tolerated = noise + max_error_rate * (1 - 2 * noise)
    ranked = sorted(range(len(labels)), key=lambda place: -labels[place].certainty)
    ordered = [labels[place] for place in ranked]
    for size in reversed(_cuts(ordered)):
        estimate = _estimate(ordered[:size])
        if (
            estimate.rate <= tolerated
            and estimate.chance_within(tolerated) >= confidence
            and not _has_drifted(labels, ranked[:size], tolerated, confidence)
        ):
            certainty = max(ordered[size - 1].certainty, 1e-9)
            return _threshold(certainty, estimate, size, confidence=confidence, noise=noise)
    return _threshold(None, _estimate(ordered), len(ordered), confidence=confidence, noise=noise)


def _threshold(
    certainty: float | None, estimate: _Estimate, labels: int, *, confidence: float, noise: float
) -> Threshold:
    """The threshold with rates of wrong answers, computed from the rates of labels."""

    def true(rate: float) -> float:
        return min(1.0, max(0.0, (rate - noise) / (1 - 2 * noise)))

    return Threshold(certainty, true(estimate.rate), true(estimate.upper(confidence)), labels)


def _cuts(ordered: Sequence[Label]) -> list[int]:
    """The numbers of labels to try above the threshold. Labels of equal certainty are never separated."""
    count = len(ordered)
    ends = [
        place + 1
        for place in range(count)
        if place + 1 == count or ordered[place + 1].certainty < ordered[place].certainty
    ]
    wanted = (round(10 * (max(count, 10) / 10) ** (step / _CUTS)) for step in range(_CUTS + 1))
    return sorted({ends[min(bisect_left(ends, size), len(ends) - 1)] for size in wanted})


def _estimate(chosen: Sequence[Label]) -> _Estimate:
    """The rate of wrong answers among requests, from labels that over-represent some requests.

    A checked hit represents many requests, a miss only one. If each label had its weight, the few checks would dominate.
    Instead the weights only give the number of requests in each stratum of certainty. Within a stratum all labels count
    the same.
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
    return wrong > 0 and beta_cdf(bound, wrong, len(newest) - wrong + 1) <= 1 - confidence


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz); within 1e-11 of scipy's."""
    if x <= 0:
        return 0.0
    if x >= 1 or b <= 0:
        return 1.0 if x >= 1 else 0.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
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
