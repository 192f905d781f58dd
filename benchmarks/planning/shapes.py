"""Generated histories: days of spending of many shapes, from a seed."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np

Shape = Callable[[Any, int, date], Any]


def noise(rng: Any, days: int, spread: float = 0.25) -> Any:
    return rng.lognormal(-spread * spread / 2, spread, days)


def weekdays(first: date, days: int) -> Any:
    return np.array([(first + timedelta(days=n)).weekday() for n in range(days)])


def steady(rng: Any, days: int, first: date) -> Any:
    return rng.uniform(1, 1000) * noise(rng, days, rng.uniform(0.05, 0.4))


def seasonal(rng: Any, days: int, first: date) -> Any:
    factors = np.where(weekdays(first, days) < 5, 1.0, rng.uniform(0.05, 0.5))
    return rng.uniform(1, 1000) * factors * noise(rng, days, rng.uniform(0.1, 0.4))


def bursty(rng: Any, days: int, first: date) -> Any:
    bursts = np.where(rng.random(days) < rng.uniform(0.03, 0.15), rng.uniform(3, 15, days), 1.0)
    return rng.uniform(1, 1000) * bursts * noise(rng, days, 0.3)


def growing(rng: Any, days: int, first: date) -> Any:
    rate = rng.uniform(0.003, 0.02)
    factors = np.where(weekdays(first, days) < 5, 1.0, 0.4)
    return rng.uniform(0.1, 10) * np.exp(rate * np.arange(days)) * factors * noise(rng, days, 0.25)


def shrinking(rng: Any, days: int, first: date) -> Any:
    return (
        rng.uniform(100, 1000) * np.exp(-rng.uniform(0.003, 0.015) * np.arange(days)) * noise(rng, days, 0.25)
    )


def dead(rng: Any, days: int, first: date) -> Any:
    end = rng.integers(days // 4, days)
    return np.where(np.arange(days) < end, steady(rng, days, first), 0)


def weekend_only(rng: Any, days: int, first: date) -> Any:
    return np.where(weekdays(first, days) < 5, 0, rng.uniform(1, 100) * noise(rng, days, 0.4))


def month_end(rng: Any, days: int, first: date) -> Any:
    last = np.array([(first + timedelta(days=n + 1)).day == 1 for n in range(days)])
    return seasonal(rng, days, first) * np.where(last, rng.uniform(5, 40) * noise(rng, days, 0.2), 1)


def sparse(rng: Any, days: int, first: date) -> Any:
    return np.where(rng.random(days) < rng.uniform(0.05, 0.3), rng.uniform(1, 50) * noise(rng, days, 0.8), 0)


def stepping(rng: Any, days: int, first: date) -> Any:
    levels, level = np.empty(days), rng.uniform(10, 100)
    for n in range(days):
        if rng.random() < 1 / 60:
            level *= rng.choice([0.3, 0.5, 2.0, 3.0])
        levels[n] = level
    return levels * noise(rng, days, 0.25)


def drifting(rng: Any, days: int, first: date) -> Any:
    return rng.uniform(1, 100) * np.exp(np.cumsum(rng.normal(0, 0.05, days))) * noise(rng, days, 0.2)


def new(rng: Any, days: int, first: date) -> Any:
    start = days - rng.integers(14, 60)
    return np.where(np.arange(days) >= start, seasonal(rng, days, first), 0)


def agents(rng: Any, days: int, first: date) -> Any:
    """A few people with coding agents: none at night's end, heavy days, a slow growth."""
    people = rng.integers(2, 12)
    active = rng.binomial(people, np.where(weekdays(first, days) < 5, 0.7, 0.08))
    return active * 13 * noise(rng, days, 0.6) * np.exp(0.002 * np.arange(days))


SHAPES: dict[str, Shape] = {
    one.__name__: one
    for one in (
        steady,
        seasonal,
        agents,
        bursty,
        growing,
        shrinking,
        stepping,
        drifting,
        weekend_only,
        month_end,
        sparse,
        dead,
        new,
    )
}
