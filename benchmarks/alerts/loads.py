"""Generated load of tenants, minute by minute: requests that come with the hours and the days of the week, and what each costs.

Invariant: a seed says everything. Times are the tenant's own; a day begins at its midnight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import numpy as np

HOUR: Final = 60
DAY: Final = 24 * HOUR
# requests a minute that are expected, of a mean of one
Shape = Callable[[Any, int, int], Any]


Kind = Literal["hour", "moment", "dearer"]
KINDS: Final[dict[Kind, str]] = {
    "hour": "ten times the requests that are usual at this hour, by the two weeks before, are added to what comes anyway",
    "moment": "each request that comes anyway comes ten times",
    "dearer": "each request costs ten times as much",
}


@dataclass(frozen=True, slots=True)
class Spike:
    """When it begins and ends, in minutes, and what is to be expected of eight minutes of it."""

    begins: float
    ends: float
    requests: float = 0.0
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """What each minute has: requests, their USD, and the dearest of them."""

    requests: Any
    usd: Any
    dearest: Any
    spikes: list[Spike]


def generate(rng: Any, shape: Shape, *, days: int, first: date, spikes: list[Spike], kind: Kind) -> Load:
    """Load of a tenant, with spikes of one kind in it."""
    daily = 10 ** rng.uniform(2.5, 4.3)  # requests of a day: 300 to 20,000
    price, spread = 10 ** rng.uniform(-3, -1.3), rng.uniform(0.6, 1.4)  # USD of the median request
    expected = shape(rng, days, first.weekday()) * daily / DAY
    wandering = np.exp(_wander(rng, days * DAY, minutes=rng.uniform(20, 180), spread=rng.uniform(0.1, 0.35)))
    whole_days = np.repeat(rng.lognormal(0, rng.uniform(0.05, 0.25), days), DAY)
    rate = expected * wandering * whole_days
    dearer = np.ones(days * DAY)
    mean_usd = price * np.exp(spread * spread / 2)
    measured = []
    for spike in spikes:
        minutes = np.arange(int(spike.begins), int(spike.ends) + 1)
        share = np.clip(np.minimum(minutes + 1, spike.ends) - np.maximum(minutes, spike.begins), 0, 1)
        at_once = expected[minutes[:8]].sum()
        if kind == "hour":
            usual = _usual(expected, first.weekday(), int(spike.begins))
            rate[minutes] += 9 * usual * share
            at_once = 80 * usual
        elif kind == "moment":
            rate[minutes] *= 1 + 9 * share
            at_once *= 10
        else:
            dearer[minutes] += 9 * share
        usd = at_once * mean_usd * (10 if kind == "dearer" else 1)
        measured.append(Spike(spike.begins, spike.ends, float(at_once), float(usd)))
    requests = rng.poisson(rate)
    costs = price * rng.lognormal(0, spread, int(requests.sum())) * np.repeat(dearer, requests)
    usd, dearest = np.zeros(len(requests)), np.zeros(len(requests))
    some = requests > 0
    starts = np.concatenate(([0], np.cumsum(requests[some])[:-1]))
    if len(costs):
        usd[some], dearest[some] = np.add.reduceat(costs, starts), np.maximum.reduceat(costs, starts)
    return Load(requests, usd, dearest, measured)


def steady(rng: Any, days: int, weekday: int) -> Any:
    """A product that the whole world uses."""
    return 1 + rng.uniform(0.1, 0.4) * np.sin(2 * np.pi * np.arange(days * DAY) / DAY + rng.uniform(0, 6))


def office(rng: Any, days: int, weekday: int) -> Any:
    """People at work: a morning, a lunch, an afternoon, hardly a weekend."""
    hour = _hour(days)
    work = _hill(hour, 10.5, 1.6) + _hill(hour, 15, 1.8) + 0.03
    return 3 * work * np.where(_is_weekend(days, weekday), rng.uniform(0.02, 0.2), 1)


def evening(rng: Any, days: int, weekday: int) -> Any:
    """A product for home: evenings, and more on weekends."""
    hour = _hour(days)
    return (0.2 + 2.5 * _hill(hour, 20.5, 2)) * np.where(_is_weekend(days, weekday), rng.uniform(1.2, 2), 1)


def growing(rng: Any, days: int, weekday: int) -> Any:
    """An office that grows by 0.5 to 2 % a day."""
    return office(rng, days, weekday) * np.exp(
        rng.uniform(0.005, 0.02) * np.arange(days * DAY) / DAY - 0.015 * days / 2
    )


def nightly(rng: Any, days: int, weekday: int) -> Any:
    """An office with a job every night, which begins up to ten minutes early or late and takes an hour."""
    load = office(rng, days, weekday)
    begins = rng.uniform(0, 6) * HOUR
    for day in range(days):
        begin = max(0, int(day * DAY + begins + rng.uniform(-10, 10)))
        load[begin : begin + int(rng.uniform(40, 80))] += rng.uniform(15, 25)
    return load


def agents(rng: Any, days: int, weekday: int) -> Any:
    """A few people with coding agents: sessions of half an hour, each as dense as the last, and pauses."""
    presence = np.where(_is_weekend(days, weekday), 0.1, 1) * (
        _hill(_hour(days), 11, 2.5) + _hill(_hour(days), 16, 2.5)
    )
    load = np.full(days * DAY, 0.01)
    people = int(rng.integers(5, 25))
    for begin in np.flatnonzero(rng.random(days * DAY) < presence * people / 90):
        load[begin : begin + int(rng.exponential(30)) + 3] += rng.lognormal(0, 0.4)
    return load / load.mean()


def hourly(rng: Any, days: int, weekday: int) -> Any:
    """Jobs that begin with every hour, above a steady ground."""
    minute = np.arange(days * DAY) % HOUR
    return np.where(minute < rng.integers(5, 15), rng.uniform(3, 6), 0.4)


def stepping(rng: Any, days: int, weekday: int) -> Any:
    """A product whose use doubles on one day when a customer comes, and falls when one goes."""
    levels = np.cumprod(np.where(rng.random(days) < 1 / 25, rng.choice([0.5, 2.0], days), 1.0))
    return steady(rng, days, weekday) * np.repeat(levels, DAY)


SHAPES: Final[dict[str, Shape]] = {
    one.__name__: one for one in (steady, office, evening, growing, nightly, agents, hourly, stepping)
}


def _usual(expected: Any, weekday: int, minute: int) -> float:
    """A minute's mean at this hour on the like days of the two weeks before."""
    day = minute // DAY
    alike = [
        one for one in range(max(day - 14, 0), day) if ((one + weekday) % 7 > 4) == ((day + weekday) % 7 > 4)
    ]
    hours = [expected[max(minute - (day - one) * DAY - 30, 0) :][:60].mean() for one in alike]
    return float(np.mean(hours)) if hours else 0.0


def _hour(days: int) -> Any:
    return np.arange(days * DAY) % DAY / HOUR


def _is_weekend(days: int, weekday: int) -> Any:
    return (np.arange(days * DAY) // DAY + weekday) % 7 > 4


def _hill(hour: Any, top: float, width: float) -> Any:
    return np.exp(-0.5 * ((hour - top) / width) ** 2)


def _wander(rng: Any, length: int, *, minutes: float, spread: float) -> Any:
    """Noise that stays where it is for some minutes."""
    steps = rng.normal(0, 1, length)
    kernel = np.exp(-np.arange(int(4 * minutes)) / minutes)
    size = 1 << (length + len(kernel)).bit_length()
    noise = np.fft.irfft(np.fft.rfft(steps, size) * np.fft.rfft(kernel, size), size)[:length]
    return spread * noise / np.sqrt((kernel**2).sum())
