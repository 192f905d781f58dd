"""What days look like: a subject's weekdays, the edges of its months, its recent level and its growth.

Invariant: pure functions over arrays, a row for each subject and a column for each day; deterministic; only days before the one
that is asked about are read, so a look back at an earlier day sees what could be seen then.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Days = NDArray[np.int64]

WEEK: Final = 7
# Weekdays and growth are learned from two months; the edges of months, of which there is one a month, from all days.
WEEKS_READ: Final = 8
EDGE_DAYS: Final = 3
LEAST_EDGES: Final = 2
EDGE_RATIO: Final = 1.5
# How fast older days are forgotten; each subject takes what would have been best for its last weeks.
FORGETTING: Final = (0.02, 0.06, 0.2)
MOST_GROWTH_A_WEEK: Final = 0.25
GROWTH_KEPT_A_DAY: Final = 0.96
TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Calendar:
    """The weekday of each day, and which edge of a month it is: 1..3 its first days, -1..-3 its last, 0 none."""

    weekdays: Days
    edges: Days

    @classmethod
    def of(cls, first: date, days: int) -> "Calendar":
        dates = [first + timedelta(days=number) for number in range(days)]
        return cls(
            np.array([day.weekday() for day in dates], dtype=np.int64),
            np.array([_edge(day) for day in dates], dtype=np.int64),
        )

    def part(self, start: int, stop: int) -> "Calendar":
        return Calendar(self.weekdays[start:stop], self.edges[start:stop])


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of each coming day, and how far its sums may be off: `spread[:, k]` of the first k + 1 days."""

    expected: Floats
    spread: Floats


def outlook(past: Floats, days: Calendar, ahead: Calendar, shares: Floats) -> Outlook:
    """Look from the end of `past` (subjects x days, whole weeks) at the days ahead, of each of which a share counts."""
    weekday = _weekday_factors(past, days)
    edge, edge_noise = _edge_factors(past, days, weekday)
    # days before the first that has something are none of quiet: there was nobody
    begun = past.cumsum(1) > 0
    factors = weekday[:, days.weekdays] * edge[:, days.edges] * begun
    forgetting, level = _level(past, factors)
    weeks = _week_levels(past, factors)
    growth = _growth(weeks)
    # the level is that of some days ago: as old as what is remembered
    level = level * np.exp(growth / WEEK * np.minimum(1 / forgetting, 3 * WEEK))
    steps = np.cumsum(GROWTH_KEPT_A_DAY ** np.arange(len(ahead.weekdays)))
    path = np.exp(growth[:, None] / WEEK * steps[None, :])
    expected = level[:, None] * path * weekday[:, ahead.weekdays] * edge[:, ahead.edges] * shares
    return Outlook(expected, _spread(past, factors, weeks, expected, forgetting, edge_noise[:, ahead.edges]))


def factors(past: Floats, days: Calendar) -> tuple[Floats, Floats]:
    """What each weekday (Monday is 0) and each edge of a month (as in `Calendar.edges`) is times an ordinary day."""
    weekday = _weekday_factors(past, days)
    return weekday, _edge_factors(past, days, weekday)[0]


def _edge(day: date) -> int:
    if day.day <= EDGE_DAYS:
        return day.day
    left = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - day
    return -left.days if left.days <= EDGE_DAYS else 0


def _weekday_factors(past: Floats, days: Calendar) -> Floats:
    """Each weekday's share of its week, 1 on average; drawn towards 1 as far as weeks differ from each other."""
    recent = past[:, -WEEKS_READ * WEEK :]
    weekdays = days.weekdays[-recent.shape[1] :]
    plain = (days.edges[-recent.shape[1] :] == 0).astype(float)
    weeks = recent.reshape(len(past), -1, WEEK)
    plain = plain.reshape(1, -1, WEEK)
    raw = np.ones((len(past), WEEK))
    for _ in range(2):  # a week without one of its days is measured by what its other days usually are
        means = (weeks * plain).sum(2) / np.maximum((raw[:, None, :] * plain).sum(2), TINY)
        counted = plain * (means > TINY)[:, :, None]
        shares = np.where(counted > 0, weeks / np.maximum(means, TINY)[:, :, None], 0)
        number = np.maximum(counted.sum(1), 1)
        raw = shares.sum(1) / number
        raw /= np.maximum(raw.mean(1, keepdims=True), TINY)
    within = (((shares - raw[:, None, :]) * counted) ** 2).sum(1) / np.maximum(number - 1, 1) / number
    noise = np.maximum(within.mean(1), 0.02)
    between = ((raw - 1) ** 2).mean(1)
    kept = np.clip(1 - noise / np.maximum(between, TINY), 0, 1)
    kept[kept > 0.9] = 1
    kept = np.where(counted.sum((1, 2)) >= 2 * WEEK, kept, 0)
    factors = np.ones((len(past), WEEK))
    factors[:, weekdays[:WEEK]] = 1 + kept[:, None] * (raw - 1)
    return np.maximum(factors, 0)


def _edge_factors(past: Floats, days: Calendar, weekday: Floats) -> tuple[Floats, Floats]:
    """What the edges of months are times other days, where every month so far says so; and how far months differ."""
    weeks = past.reshape(len(past), -1, WEEK)
    plain = (days.edges == 0).astype(float).reshape(1, -1, WEEK)
    factors = weekday[:, days.weekdays].reshape(weeks.shape)
    levels = (weeks * plain).sum(2) / np.maximum((factors * plain).sum(2), TINY)
    # a week that is mostly an edge says little of other days: its neighbours help
    around = levels.copy()
    around[:, 1:] += levels[:, :-1]
    around[:, :-1] += levels[:, 1:]
    around /= np.array([2, *[3] * (levels.shape[1] - 2), 2])[None, :]
    usual = np.repeat(around, WEEK, axis=1) * weekday[:, days.weekdays]
    result, differing = np.ones((len(past), 2 * EDGE_DAYS + 1)), np.zeros((len(past), 2 * EDGE_DAYS + 1))
    begun = past.cumsum(1) > 0
    for edge in range(-EDGE_DAYS, EDGE_DAYS + 1):
        at = np.flatnonzero(days.edges == edge)
        if edge == 0 or len(at) < LEAST_EDGES:
            continue
        seen = begun[:, at] & (usual[:, at] > TINY)
        ratios = np.where(seen, past[:, at] / np.maximum(usual[:, at], TINY), np.nan)
        enough = seen.sum(1) >= LEAST_EDGES
        ratios[~enough] = 1
        middle, least, most = _medians(ratios), np.nanmin(ratios, 1), np.nanmax(ratios, 1)
        found = enough & ((least > EDGE_RATIO) | (most < 1 / EDGE_RATIO))
        number = np.maximum(seen.sum(1), LEAST_EDGES)
        relative = np.nanvar(ratios, 1) / np.maximum(middle, TINY) ** 2 * (number + 1) / (number - 1)
        result[:, edge] = np.where(found, middle, 1)
        differing[:, edge] = np.where(found, np.maximum(relative, 0.05), 0)
    return result, differing


def _medians(rows: Floats) -> Floats:
    """The median of each row without its NaNs, of which no row consists; NumPy's own is slow on short rows."""
    ordered = np.sort(rows, axis=1)  # NaNs are last
    number = (~np.isnan(rows)).sum(1)
    row = np.arange(len(rows))
    medians: Floats = (ordered[row, (number - 1) // 2] + ordered[row, number // 2]) / 2
    return medians


def _level(past: Floats, factors: Floats) -> tuple[Floats, Floats]:
    """How fast each subject forgets, and its level now."""
    length = past.shape[1]
    errors, levels = [], []
    for forgotten in FORGETTING:
        weights = (1 - forgotten) ** np.arange(length - 1, -1, -1)
        top = np.cumsum(past * weights, axis=1)
        bottom = np.cumsum(factors * weights, axis=1)
        error = np.zeros(len(past))
        for back in range(1, min(WEEKS_READ, length // WEEK - 1) + 1):
            start = length - back * WEEK
            guess = top[:, start - 1] / np.maximum(bottom[:, start - 1], TINY)
            span = slice(start, start + WEEK)
            error += np.abs(past[:, span].sum(1) - guess * factors[:, span].sum(1))
        errors.append(error)
        levels.append(top[:, -1] / np.maximum(bottom[:, -1], TINY))
    best = np.argmin(np.array(errors), axis=0)
    rows = np.arange(len(past))
    return np.array(FORGETTING)[best], np.array(levels)[best, rows]


def _week_levels(past: Floats, factors: Floats) -> Floats:
    span = slice(-min(WEEKS_READ * WEEK, past.shape[1]), None)
    top = past[:, span].reshape(len(past), -1, WEEK).sum(2)
    levels: Floats = top / np.maximum(factors[:, span].reshape(len(past), -1, WEEK).sum(2), TINY)
    return levels


def _growth(weeks: Floats) -> Floats:
    """The growth of a week as a logarithm, drawn towards none as far as it is uncertain; none with a week of nothing."""
    alive = (weeks > TINY).all(1)
    logs = np.log(np.maximum(weeks, TINY))
    times = np.arange(weeks.shape[1]) - (weeks.shape[1] - 1) / 2
    slope = (logs * times).sum(1) / (times**2).sum()
    rest = logs - logs.mean(1, keepdims=True) - slope[:, None] * times
    error = np.sqrt((rest**2).sum(1) / max(weeks.shape[1] - 2, 1) / (times**2).sum())
    sure = np.clip(1 - (2 * error / np.maximum(np.abs(slope), TINY)) ** 2, 0, 1)
    return np.where(alive, np.clip(slope * sure, -MOST_GROWTH_A_WEEK, MOST_GROWTH_A_WEEK), 0)


def _spread(
    past: Floats, factors: Floats, weeks: Floats, expected: Floats, forgetting: Floats, edge_noise: Floats
) -> Floats:
    """The standard error of the sum of the first days: of the days themselves, of the level, and of its drift."""
    span = slice(-weeks.shape[1] * WEEK, None)
    usual = np.repeat(weeks, WEEK, axis=1) * factors[:, span]
    noise = ((past[:, span] - usual) ** 2).sum(1) * WEEK / (WEEK - 1) / np.maximum((usual**2).sum(1), TINY)
    noise = np.clip(noise, 0.01, 100)
    steps = np.diff(weeks, axis=1) / np.maximum((weeks[:, 1:] + weeks[:, :-1]) / 2, TINY)
    full = (factors[:, span].reshape(len(past), -1, WEEK).sum(2) > 0).astype(float)
    both = full[:, 1:] * full[:, :-1]
    steps = (steps**2 * both).sum(1) / np.maximum(both.sum(1), 1)
    # the averages of two neighbouring weeks of a walk differ by 4.7 of its daily steps, squared
    drift = np.clip(steps - 2 * noise / WEEK, 0, 1) / 4.7
    sums = np.cumsum(expected, axis=1)
    squares = np.cumsum(expected**2 * np.maximum(noise[:, None], edge_noise), axis=1)
    days = np.arange(1, expected.shape[1] + 1)
    level = noise * forgetting / (2 - forgetting) + drift / forgetting / 2
    spread: Floats = np.sqrt(squares + (level[:, None] + drift[:, None] * days / 3) * sums**2)
    return spread
