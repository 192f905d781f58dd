"""Finds the similarity from which on a scope's answers may be reused, from judged pairs.

Invariant: closed unless the evidence speaks for open. A threshold is returned only if, with the stated
confidence, at most `max_error_rate` of the answers served above it would be wrong. Pure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.90
WINDOW = 4_000
# Below this similarity no label is collected and nothing is ever served.
FLOOR = 0.70
_GRID = tuple(round(FLOOR + 0.005 * step, 3) for step in range(60))


@dataclass(frozen=True, slots=True)
class Label:
    """One judged pair: its similarity, whether the cached answer would have been wrong, for how many it
    stands.
    """

    similarity: float
    is_wrong: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Threshold:
    """`similarity` None means closed. The rates are of the labels at and above it, or of all when closed."""

    similarity: float | None
    error_rate: float | None
    error_rate_upper: float | None
    labels: int

    @property
    def is_open(self) -> bool:
        return self.similarity is not None


def find_threshold(
    labels: Sequence[Label], *, max_error_rate: float, confidence: float = CONFIDENCE
) -> Threshold:
    """The lowest threshold of the grid whose upper confidence bound on wrong answers is within the rate."""
    ordered = sorted(labels, key=lambda label: -label.similarity)
    best: Threshold | None = None
    total = squares = wrong = 0.0
    taken = 0
    for threshold in reversed(_GRID):
        while taken < len(ordered) and ordered[taken].similarity >= threshold:
            label = ordered[taken]
            total += label.weight
            squares += label.weight**2
            wrong += label.weight * label.is_wrong
            taken += 1
        if not taken:
            continue
        rate, effective = wrong / total, total**2 / squares
        if _beta_cdf(max_error_rate, rate * effective + 1, (1 - rate) * effective) >= confidence:
            best = Threshold(threshold, rate, None, taken)
    if best is not None:
        return _with_upper(best, ordered, confidence)
    if not taken:
        return Threshold(None, None, None, 0)
    return _with_upper(Threshold(None, wrong / total, None, taken), ordered, confidence)


def _with_upper(found: Threshold, ordered: Sequence[Label], confidence: float) -> Threshold:
    chosen = ordered[: found.labels]
    total, squares = sum(label.weight for label in chosen), sum(label.weight**2 for label in chosen)
    effective, rate = total**2 / squares, found.error_rate or 0.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        if _beta_cdf(middle, rate * effective + 1, (1 - rate) * effective) >= confidence:
            high = middle
        else:
            low = middle
    return Threshold(found.similarity, rate, high, found.labels)


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
