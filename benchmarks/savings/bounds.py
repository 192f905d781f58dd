"""How certain a share or a mean of a sample is.

Invariant: pure. Shares have exact (Clopper-Pearson) limits; means of paired differences the usual normal ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from caching.scoring.threshold import beta_cdf

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, and the limits between which the true share is, with 95 % confidence."""

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0

    def __str__(self) -> str:
        return f"{self.count} of {self.of} ({self.share:.1%}, {self.low:.1%} to {self.high:.1%})"


def share(count: int, of: int) -> Share:
    """A share with its exact limits; of nothing, all is possible."""
    tail = (1 - CONFIDENCE) / 2
    low = _quantile(tail, count, of - count + 1) if count else 0.0
    high = _quantile(1 - tail, count + 1, of - count) if count < of else 1.0
    return Share(count, of, low, high)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and the limits between which the true one is, with 95 % confidence."""

    mean: float
    low: float
    high: float
    of: int

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} points ({100 * self.low:.1f} to {100 * self.high:.1f}) over {self.of}"


def mean(values: Sequence[float]) -> Mean:
    """The mean of some values; of fewer than two, all is possible."""
    count = len(values)
    if count < 2:
        return Mean(sum(values), -1.0, 1.0, count)
    middle = sum(values) / count
    variance = sum((value - middle) ** 2 for value in values) / (count - 1)
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(variance / count)
    return Mean(middle, middle - reach, middle + reach, count)


def _quantile(probability: float, a: float, b: float) -> float:
    """Of the beta distribution, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, a, b) < probability else (low, middle)
    return (low + high) / 2
