"""How far a forecast may be off: intervals that are calibrated on what the same forecast would have said of the subject's past.

The outlook from today is taken from earlier days, too, a week apart, and compared with what came. Its errors, in units of the
spread it expected of itself, say where nine of ten results lie. A subject with few of them borrows from a wide reference.

Invariant: pure and deterministic; an interval is never below nothing, and low <= middle <= high.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from billing.planning.patterns import TINY, WEEK, Calendar, Floats, Outlook, outlook

Flags = NDArray[np.bool_]

LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95
# What a look back reads at least, and the days that a subject must have had by then.
LEAST_DAYS_READ: Final = 8 * WEEK
LEAST_DAYS_LIVED: Final = 4 * WEEK
# The reference weighs as much as five errors of the subject's own. It is Student's t with five degrees of freedom, wider for
# those of whom few days are known: so are the errors of generated histories (`make bench-forecast`).
REFERENCE_WEIGHT: Final = 5.0
_T5: Final = np.array(
    [0.0, 0.0676, 0.1356, 0.2043, 0.2742, 0.3458, 0.4194, 0.4958, 0.5757, 0.66,
     0.7497, 0.8465, 0.9524, 1.0705, 1.2052, 1.364, 1.5601, 1.8212, 2.2221, 3.1409]
)  # fmt: skip
REFERENCE: Final = np.concatenate([-_T5[:0:-1], _T5])
WIDER_WHEN_YOUNG_DAYS: Final = 5.0
# A silence of a week, twice as long as any before it, is taken for the end.
LEAST_SILENCE, END_OF_ALL = 2, WEEK


@dataclass(frozen=True, slots=True)
class Paths:
    """The sum of the first days ahead, for each of them: its 5th, 50th and 95th percentile (subjects x days)."""

    low: Floats
    middle: Floats
    high: Floats


def paths(past: Floats, days: Calendar, ahead: Calendar, shares: Floats) -> Paths:
    """What the days ahead may add up to; `shares` is the part of each that counts (today's rest, the part of a last day)."""
    errors, weights = _own_errors(past, days, len(ahead.weekdays))
    rows = len(past)
    lived = np.maximum((past.cumsum(1) > 0).sum(1), 1)
    reference = (1 + WIDER_WHEN_YOUNG_DAYS / lived)[:, None] * REFERENCE[None, :]
    errors = np.concatenate([errors, reference], axis=1)
    borrowed = np.full((rows, len(REFERENCE)), REFERENCE_WEIGHT / len(REFERENCE))
    quantiles = _quantiles(errors, np.concatenate([weights, borrowed], axis=1))
    seen = outlook(past, days, ahead, shares)
    low, middle, high = (_inverse(seen, past, quantile) for quantile in quantiles)
    silent, ended = _silence(past)
    low[silent] = 0
    middle[ended] = 0
    return Paths(low, np.maximum(middle, low), np.maximum(high, middle))


def _own_errors(past: Floats, days: Calendar, length: int) -> tuple[Floats, Floats]:
    """The errors of this outlook from earlier days, and what each weighs: results that overlap count as one."""
    total = past.shape[1]
    begun = past.cumsum(1) > 0
    errors, counted = [], []
    for origin in range(total - length, LEAST_DAYS_READ - 1, -WEEK):
        start = origin % WEEK
        seen = past[:, start:origin]
        guess = outlook(seen, days.part(start, origin), days.part(origin, origin + length), np.ones(length))
        came = past[:, origin : origin + length].sum(1)
        errors.append(_error(guess, seen, came))
        counted.append(begun[:, origin - LEAST_DAYS_LIVED])
    if not errors:
        return np.zeros((len(past), 0)), np.zeros((len(past), 0))
    counts = np.array(counted, dtype=float).T
    return np.array(errors).T, counts * min(1.0, WEEK / length)


def _scale(seen: Outlook, past: Floats) -> tuple[Floats, Floats]:
    """The offset that keeps a logarithm of nothing finite, and the spread in logarithms; for each day ahead."""
    usual = past[:, -LEAST_DAYS_READ:].mean(1)[:, None]
    offset = 0.25 * seen.spread + 0.1 * usual + TINY
    sums = np.cumsum(seen.expected, axis=1)
    return offset, np.maximum(np.sqrt(np.log1p((seen.spread / (sums + offset)) ** 2)), 0.02)


def _error(guess: Outlook, past: Floats, came: Floats) -> Floats:
    offset, spread = _scale(guess, past)
    guessed = guess.expected.sum(1)
    error: Floats = np.log((came + offset[:, -1]) / (guessed + offset[:, -1])) / spread[:, -1]
    return error


def _inverse(seen: Outlook, past: Floats, quantile: Floats) -> Floats:
    offset, spread = _scale(seen, past)
    grown = np.exp(np.clip(quantile[:, None] * spread, -50, 50))
    sums = (np.cumsum(seen.expected, axis=1) + offset) * grown - offset
    # what has been spent stays spent: a sum of more days is not smaller
    return np.maximum.accumulate(np.maximum(sums, 0), axis=1)


def _quantiles(values: Floats, weights: Floats) -> list[Floats]:
    order = np.argsort(values, axis=1, kind="stable")
    values, weights = np.take_along_axis(values, order, 1), np.take_along_axis(weights, order, 1)
    places = (np.cumsum(weights, axis=1) - weights / 2) / weights.sum(1, keepdims=True)
    return [
        np.array([np.interp(share, place, value) for place, value in zip(places, values, strict=True)])
        for share in (LOW, MIDDLE, HIGH)
    ]


def _silence(past: Floats) -> tuple[Flags, Flags]:
    """Who has been silent for longer than ever before, and who for so long that nothing more is expected."""
    begun = past.cumsum(1) > 0
    places = np.arange(past.shape[1])
    last_use = np.maximum.accumulate(np.where(past > 0, places, -1), axis=1)
    runs = np.where(begun, places - last_use, 0)
    now = runs[:, -1]
    before = np.where(places <= last_use[:, -1:], runs, 0).max(1)
    silent = (now >= LEAST_SILENCE) & (now > before)
    return silent, silent & (now >= END_OF_ALL) & (now > 2 * before)
