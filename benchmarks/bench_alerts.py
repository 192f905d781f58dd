"""`make bench-alerts`: how soon a jump of the spend is found, and how often one is found that is none.

DAYS of generated load of tenants of many shapes (`benchmarks/alerts/loads.py`), with spikes of ten times the load for half an
hour at random moments. Spans of five minutes are written into an embedded PostgreSQL, and the product's own watch
(`billing.alerts.jump.find`) looks every minute, with the threshold of a tenant without a rule. What was asked in the last minute
is not booked yet. Asked: a spike is found within ten minutes, and of all else at most one alert for a tenant and month.

The watch is run at each minute whose pace could be a jump: not below the floors, and not below the rule's bounds of the highest
pace at that hour and of the mean of all hours. Of the other minutes a sample is looked at, too, and none of it may be found.

    make bench-alerts           SEEDS=4 DAYS=90 SPIKES=6 (of a tenant) by default; SECONDS=420 ends it early, between tenants
"""

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import median, quantiles
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from benchmarks import results_file
from benchmarks.alerts.loads import DAY, SHAPES, Load, generate
from benchmarks.own_servers import own_postgres

SEEDS = int(os.environ.get("SEEDS", "4"))
DAYS = int(os.environ.get("DAYS", "90"))
SPIKES = int(os.environ.get("SPIKES", "6"))
SECONDS = float(os.environ.get("SECONDS", "420"))
SPIKE_MINUTES: Final = 30
WARM_DAYS: Final = 14  # without spikes
AFTER_MINUTES: Final = 20  # alerts so long after a spike are still of it
UNBOOKED: Final = 1  # minutes
SAMPLE: Final = 100  # of minutes at which nothing can be
ASKED_MINUTES, ASKED_ALARMS = 10, 1
ZONES: Final = ("UTC", "Asia/Tokyo", "America/Bogota")  # without summer time, so that minutes can be counted

WRITE = """
INSERT INTO billing_usagespan (tenant_id, at, billed_usd, dearest_usd, requests, hits, unread, unpriced)
SELECT %s, at, usd, dearest, requests, 0, 0, 0
FROM unnest(%s::timestamptz[], %s::numeric[], %s::numeric[], %s::int[]) AS s (at, usd, dearest, requests)
WHERE requests > 0
"""


@dataclass
class Outcome:
    """What the watch made of one tenant's load."""

    shape: str
    seed: int
    spikes: int = 0
    too_small: int = 0  # spikes that stay below the floors
    minutes: list[float] = field(default_factory=list)  # to find, of those that were found
    alarms: int = 0
    looks: int = 0


def main() -> None:
    machine = results_file.machine()
    done = []
    with own_postgres():
        began = time.monotonic()
        for seed in range(1, SEEDS + 1):
            for number, shape in enumerate(SHAPES):
                if time.monotonic() - began < SECONDS:
                    done.append(_tenant(shape, seed, number))
    shapes: dict[str, list[Outcome]] = defaultdict(list)
    for one in done:
        shapes[one.shape].append(one)
    rows = {**{name: _figures(ones) for name, ones in shapes.items()}, "all": _figures(done)}
    print(
        f"{'shape':<10}{'tenants':>8}{'spikes':>8}{'found':>7}{'within 10':>11}{'median min':>12}{'slowest':>9}"
        f"{'alarms/month':>14}"
    )
    for name, row in rows.items():
        print(
            f"{name:<10}{row['tenants']:>8}{row['spikes']:>8}{row['found']:>7}{row['within_asked_percent']!s:>10}%"
            f"{row['median_minutes']!s:>12}{row['slowest_minutes']!s:>9}{row['alarms_per_tenant_month']:>14}"
        )
    figures = {
        "machine": machine, "days": DAYS, "seeds": SEEDS, "asked": {"minutes": ASKED_MINUTES, "alarms": ASKED_ALARMS},
        "seconds": round(time.monotonic() - began), "shapes": {name: rows[name] for name in shapes}, "all": rows["all"],
        "seeds_alarms_per_tenant_month": [
            _figures([one for one in done if one.seed == seed])["alarms_per_tenant_month"]
            for seed in sorted({one.seed for one in done})
        ],
        "most_alarms_per_month_of_a_tenant": max(_per_month(one.alarms) for one in done),
    }  # fmt: skip
    print(json.dumps({"file": str(results_file.write("alerts", figures)), **rows["all"]}))


def _tenant(shape: str, seed: int, number: int) -> Outcome:
    from django.db import connection, transaction

    from billing.alerts import jump
    from tenants.models import Tenant

    rng = np.random.default_rng([seed, number])
    zone = ZoneInfo(ZONES[(seed + number) % len(ZONES)])
    first = date(2026, 1, 5) + timedelta(days=int(rng.integers(0, 180)))
    starts_at = datetime(first.year, first.month, first.day, tzinfo=zone).astimezone(UTC)
    gap = (DAYS - WARM_DAYS) * DAY / SPIKES
    begins = [WARM_DAYS * DAY + gap * n + rng.uniform(0, gap - 2 * SPIKE_MINUTES) for n in range(SPIKES)]
    spikes = [(begin, begin + SPIKE_MINUTES) for begin in begins]
    load = generate(rng, SHAPES[shape], days=DAYS, first=first, spikes=spikes)
    tenant = Tenant.objects.create(slug=f"{shape}-{seed}", name=shape, timezone=zone.key)
    outcome = Outcome(shape, seed)
    spans = _Spans(load, starts_at, tenant.pk)
    with transaction.atomic(), connection.cursor() as cursor:
        # one tenant at a time
        cursor.execute("DELETE FROM billing_usagespan")
        spans.write_all(cursor)
        cursor.execute("ANALYZE billing_usagespan")
        possible = spans.possible(zone)
        rest = np.setdiff1d(np.arange(DAY, DAYS * DAY), possible)
        found = []
        for minute in possible:
            spans.show(cursor, int(minute))
            if jump.find(at=starts_at + timedelta(minutes=int(minute))):
                found.append(int(minute))
        for minute in rng.choice(rest, min(SAMPLE, len(rest)), replace=False):
            spans.show(cursor, int(minute))
            if jump.find(at=starts_at + timedelta(minutes=int(minute))):
                raise AssertionError(f"{shape} {seed}: a jump at a minute where none can be, {minute}")
        outcome.looks = len(possible)
    _judge(outcome, load, spikes, found)
    return outcome


class _Spans:
    """A tenant's spans as the product would have them at each minute."""

    def __init__(self, load: Load, starts_at: datetime, tenant_id: int) -> None:
        self.tenant_id, self.starts_at = tenant_id, starts_at
        self.requests = np.cumsum(load.requests.reshape(-1, 5), axis=1)  # of the first minutes of each span
        self.usd = np.cumsum(load.usd.reshape(-1, 5), axis=1)
        self.dearest = np.maximum.accumulate(load.dearest.reshape(-1, 5), axis=1)
        self.shown: list[int] = []

    def write_all(self, cursor: Any) -> None:
        self._write(cursor, [(span, 5) for span in range(len(self.usd))])

    def show(self, cursor: Any, minute: int) -> None:
        """Write the last two spans as they are known at a minute, and those that were shown before in full."""
        known, span = minute - UNBOOKED, minute // 5
        now_shown = [one for one in (span - 1, span) if 0 <= one < len(self.usd)]
        rows = {one: 5 for one in self.shown} | {one: min(5, known - one * 5) for one in now_shown}
        cursor.execute(
            "DELETE FROM billing_usagespan WHERE tenant_id = %s AND at = ANY(%s)",
            [self.tenant_id, [self._at(one) for one in rows]],
        )
        self._write(cursor, [(one, minutes) for one, minutes in rows.items() if minutes > 0])
        self.shown = now_shown

    def possible(self, zone: ZoneInfo) -> Any:
        """The minutes, after the first day, at which the floors and the bound of the highest pace let a jump be."""
        from billing.alerts import jump
        from billing.alerts.metrics import METRICS

        steady = self.usd - self.dearest
        minutes = np.arange(len(self.usd) * 5)
        span, known = minutes // 5, minutes - UNBOOKED
        now_steady = self._known(steady, span, known) + self._known(steady, span - 1, known)
        now_requests = self._known(self.requests, span, known) + self._known(self.requests, span - 1, known)
        whole = steady[:, -1]
        two = whole + np.concatenate(([0], whole[:-1]))
        # the highest of an hour before and 50 minutes after: a part of what the watch looks at
        padded = np.pad(two, (12, 10))
        around = np.lib.stride_tricks.sliding_window_view(padded, 23).max(axis=1)
        weekend = (np.arange(len(whole)) // 288 + self.starts_at.astimezone(zone).weekday()) % 7 > 4
        before = np.full((14, len(whole)), -1.0)
        for ago in range(1, 15):
            back = ago * 288
            if back < len(whole):
                same = weekend[back:] == weekend[:-back]
                before[ago - 1, back:] = np.where(same, around[:-back], -1.0)
        days = (before >= 0).sum(axis=0)
        second = np.sort(before, axis=0)[-2]
        bound = np.where(days >= int(jump.LEAST_DAYS) + 1, second, 0)[
            span
        ]  # one more: where the watch counts days otherwise
        least = float(jump.ABOVE_HIGHEST) * bound * 0.999
        # the usual pace is taken to be a share of that of all hours at least; a tenth is left for the edges
        sums, since = np.concatenate(([0], np.cumsum(whole))), np.maximum(span - 1, 0)
        began = np.maximum(since - 14 * 288, 0)
        all_hours = (sums[since] - sums[began]) / np.maximum((since - began) * 5, 1)
        usual = 0.9 * float(jump.LEAST_OF_MEAN) * all_hours
        threshold = float(METRICS[jump.METRIC].default or 0)
        is_possible = (
            (minutes >= DAY)
            & (now_steady >= float(jump.FLOOR_USD) * 0.999)
            & (now_requests >= jump.LEAST_REQUESTS)
            & (now_steady >= least)
            & (now_steady / (5 + minutes % 5) >= threshold * usual)
        )
        return minutes[is_possible]

    def _known(self, sums: Any, span: Any, known: Any) -> Any:
        minutes = np.clip(known - span * 5, 0, 5)
        return np.where((minutes > 0) & (span >= 0), sums[span, np.maximum(minutes, 1) - 1], 0)

    def _at(self, span: int) -> datetime:
        return self.starts_at + timedelta(minutes=5 * span)

    def _write(self, cursor: Any, rows: list[tuple[int, int]]) -> None:
        columns = [
            [f"{sums[span, minutes - 1]:.8f}" for span, minutes in rows] for sums in (self.usd, self.dearest)
        ]
        requests = [int(self.requests[span, minutes - 1]) for span, minutes in rows]
        cursor.execute(WRITE, [self.tenant_id, [self._at(span) for span, _ in rows], *columns, requests])


def _judge(outcome: Outcome, load: Load, spikes: list[tuple[float, float]], found: list[int]) -> None:
    from billing.alerts import jump
    from billing.alerts.metrics import METRICS

    rest = np.array(found, dtype=int)
    for begin, end in spikes:
        of_it = (rest >= begin) & (rest <= end + AFTER_MINUTES)
        usual = slice(int(begin), int(begin) + 8)
        is_big = 10 * load.expected_usd[usual].sum() >= 2 * float(jump.FLOOR_USD)
        is_big &= 10 * load.expected_requests[usual].sum() >= 2 * jump.LEAST_REQUESTS
        outcome.spikes += int(is_big)
        outcome.too_small += int(not is_big)
        if is_big and of_it.any():
            outcome.minutes.append(float(rest[of_it].min() - begin))
        rest = rest[~of_it]
    quiet = METRICS[jump.METRIC].quiet.total_seconds() / 60
    outcome.alarms = int(len(rest) > 0) + int((np.diff(rest) > quiet).sum())


def _figures(outcomes: list[Outcome]) -> dict[str, Any]:
    spikes, minutes = sum(one.spikes for one in outcomes), [each for one in outcomes for each in one.minutes]
    within = sum(each <= ASKED_MINUTES for each in minutes)
    return {
        "tenants": len(outcomes),
        "spikes": spikes,
        "spikes_below_the_floors": sum(one.too_small for one in outcomes),
        "found": len(minutes),
        "within_asked_percent": round(100 * within / spikes, 1) if spikes else None,
        "median_minutes": round(median(minutes), 1) if minutes else None,
        "p95_minutes": round(quantiles(minutes, n=20)[-1], 1) if len(minutes) > 1 else None,
        "slowest_minutes": round(max(minutes), 1) if minutes else None,
        "alarms_per_tenant_month": round(sum(_per_month(one.alarms) for one in outcomes) / len(outcomes), 2),
        "looks": sum(one.looks for one in outcomes),
    }


def _per_month(alarms: int) -> float:
    return round(alarms / (DAYS - 1) * 30, 2)


if __name__ == "__main__":
    main()
