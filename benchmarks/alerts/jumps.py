"""How soon a jump of the spend is found, and how often one is found that is none, in generated load of one tenant.

Invariant: what is judged is the product's (`billing.alerts.rises.rise_of`, at each minute at which its query would ask it), in
memory, because 130,000 minutes of a tenant are too many for a database; `checked` asks the whole watch at some of them.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from benchmarks.alerts.loads import DAY, SHAPES, Kind, Load, Spike, generate

DAYS: Final = 90
SPIKES: Final = 6  # of a tenant
SPIKE_MINUTES: Final = 30
WARM_DAYS: Final = 14  # without spikes
AFTER_MINUTES: Final = 20  # alerts so long after a spike are still of it
CHECKED: Final = 6  # of the minutes of a tenant
ZONES: Final = ("UTC", "Asia/Tokyo", "America/Bogota")  # without summer time, so that minutes can be counted

WRITE = """
INSERT INTO billing_usagespan (tenant_id, at, billed_usd, dearest_usd, requests, hits, unread, unpriced)
SELECT %s, at, usd, dearest, requests, 0, 0, 0
FROM unnest(%s::timestamptz[], %s::numeric[], %s::numeric[], %s::int[]) AS s (at, usd, dearest, requests)
WHERE requests > 0
"""


@dataclass
class Outcome:
    """What the watch made of one tenant's load. Minutes to find are of the spikes that were found."""

    shape: str
    kind: Kind
    spikes: int = 0
    too_small: int = 0  # spikes that stay below the floors
    minutes: list[float] = field(default_factory=list)
    alarms: int = 0
    judged: int = 0
    checked: int = 0


def measure(shape: str, seed: int, number: int, *, kind: Kind, is_checked: bool) -> Outcome:
    """Generate a tenant and look at it; `is_checked` needs a database."""
    rng = np.random.default_rng([seed, number])
    zone = ZoneInfo(ZONES[(seed + number) % len(ZONES)])
    first = date(2026, 1, 5) + timedelta(days=int(rng.integers(0, 180)))
    gap = (DAYS - WARM_DAYS) * DAY / SPIKES
    begins = [WARM_DAYS * DAY + gap * n + rng.uniform(0, gap - 2 * SPIKE_MINUTES) for n in range(SPIKES)]
    spikes = [Spike(begin, begin + SPIKE_MINUTES) for begin in begins]
    load = generate(rng, SHAPES[shape], days=DAYS, first=first, spikes=spikes, kind=kind)
    starts_at = datetime(first.year, first.month, first.day, tzinfo=zone).astimezone(UTC)
    seen = _Seen(load, starts_at, zone)
    possible = seen.possible()
    found = [int(minute) for minute in possible if seen.is_jump(int(minute))]
    outcome = Outcome(shape, kind, judged=len(possible))
    _judge(outcome, load, found)
    if is_checked:
        outcome.checked = _check(seen, found, possible, rng, name=f"{shape}-{seed}-{kind}")
    return outcome


class _Seen:
    """A tenant's spans as the product would have them at each minute."""

    def __init__(self, load: Load, starts_at: datetime, zone: ZoneInfo) -> None:
        from billing.alerts import jump, rises

        self.starts_at, self.zone, self.unbooked = starts_at, zone, jump.UNBOOKED
        self.requests = np.cumsum(load.requests.reshape(-1, 5), axis=1).astype(
            float
        )  # of the first minutes of each span
        self.usd = np.cumsum(load.usd.reshape(-1, 5), axis=1)
        self.dearest = np.maximum.accumulate(load.dearest.reshape(-1, 5), axis=1)
        self.steady = self.usd - self.dearest
        empty = np.zeros(rises.LENGTH)
        self.past = [np.concatenate((empty, sums[:, -1])) for sums in (self.steady, self.requests)]

    def is_jump(self, minute: int) -> bool:
        from billing.alerts import rises
        from billing.alerts.jump import METRIC
        from billing.alerts.metrics import METRICS

        span = minute // 5
        sums = [past[span + 1 : span + 1 + rises.LENGTH].copy() for past in self.past]
        for values, known in zip(sums, (self.steady, self.requests), strict=True):
            for one in (span - 1, span):
                minutes = min(5, minute - self.unbooked - one * 5)
                values[one - span - 1] = known[one, minutes - 1] if minutes > 0 else 0
        minutes = 5 + minute % 5
        calendar = rises.calendar_of(self._at(span * 5), self.zone)
        fortnight = rises.Fortnight(*sums, calendar, span + 1, minutes, booked=minutes - self.unbooked)
        return rises.rise_of(fortnight, threshold=float(METRICS[METRIC].default or 0)) is not None

    def possible(self) -> Any:
        """The minutes at which the watch's query would ask: above the floors and above the usual of the hour."""
        from billing.alerts import jump, rises
        from billing.alerts.metrics import METRICS

        minutes = np.arange(len(self.usd) * 5)
        span, known = minutes // 5, minutes - self.unbooked
        steady = _known(self.steady, span, known) + _known(self.steady, span - 1, known)
        requests = _known(self.requests, span, known) + _known(self.requests, span - 1, known)
        sums = np.concatenate((np.zeros(7), np.cumsum(self.steady[:, -1]), np.full(4, np.nan)))
        hour = sums[11:] - np.concatenate(
            ([0], sums[:-12])
        )  # of the seven spans before each, it, and the four after
        hour = np.where(np.isnan(hour), np.inf, hour)[: len(self.usd)]
        weekend = (np.arange(len(self.usd)) // 288 + self.starts_at.astimezone(self.zone).weekday()) % 7 > 4
        total, most, days, busy = (np.zeros(len(self.usd)) for _ in range(4))
        for ago in range(1, rises.DAYS + 1):
            back = ago * rises.IN_A_DAY
            same = weekend[back:] == weekend[:-back]
            total[back:] += np.where(same, hour[:-back], 0)
            most[back:] = np.maximum(most[back:], np.where(same, hour[:-back], 0))
            days[back:] += same
            busy[back:] += same & (hour[:-back] > 0)
        is_usual = (days >= rises.LEAST_DAYS) & (2 * busy > days)
        usual = np.where(is_usual, (total - most) / np.maximum(days - 1, 1) / 60, 0)
        threshold = float(METRICS[jump.METRIC].default or 0)
        return minutes[
            (minutes >= DAY)
            & (steady >= float(jump.FLOOR_USD))
            & (requests >= jump.LEAST_REQUESTS)
            & (steady >= 0.999 * threshold * usual[span] * (5 + minutes % 5))
        ]

    def write(self, cursor: Any, tenant_id: int, minute: int) -> None:
        """The spans of the two weeks before a minute, and those that run, as rows."""
        from billing.alerts import rises

        last = minute // 5
        rows = [
            (span, min(5, minute - self.unbooked - span * 5))
            for span in range(max(0, last - rises.LENGTH), last + 1)
        ]
        rows = [(span, minutes) for span, minutes in rows if minutes > 0]
        at = [self._at(span * 5) for span, _ in rows]
        columns = [[f"{sums[span, n - 1]:.12f}" for span, n in rows] for sums in (self.usd, self.dearest)]
        cursor.execute("DELETE FROM billing_usagespan")
        cursor.execute(
            WRITE, [tenant_id, at, *columns, [int(self.requests[span, n - 1]) for span, n in rows]]
        )

    def _at(self, minute: int) -> datetime:
        return self.starts_at + timedelta(minutes=minute)


def _known(sums: Any, span: Any, known: Any) -> Any:
    minutes = np.clip(known - span * 5, 0, 5)
    return np.where((minutes > 0) & (span >= 0), sums[span, np.maximum(minutes, 1) - 1], 0)


def _check(seen: _Seen, found: list[int], possible: Any, rng: Any, *, name: str) -> int:
    """Ask the whole watch, with its query, at some minutes of either kind; how many. It must say the same."""
    from django.db import connection, transaction

    from billing.alerts import jump
    from tenants.models import Tenant

    # with less than two weeks of spans written the tenant would seem to have begun later
    late = [minute for minute in found if minute > 17 * DAY]
    rest = np.setdiff1d(possible[possible > 17 * DAY], found)
    chosen = [
        *rng.choice(late, min(CHECKED // 2, len(late)), replace=False),
        *rng.choice(rest, min(CHECKED // 2, len(rest)), replace=False),
    ]
    tenant = Tenant.objects.create(slug=name, name=name, timezone=seen.zone.key)
    for minute in map(int, chosen):
        with transaction.atomic(), connection.cursor() as cursor:
            seen.write(cursor, tenant.pk, minute)
            cursor.execute("ANALYZE billing_usagespan")
            whole = bool(jump.find(at=seen.starts_at + timedelta(minutes=minute)))
        if whole != (minute in found):
            raise AssertionError(
                f"{name}: the watch says {whole} at minute {minute}, and its judgement the opposite"
            )
    return len(chosen)


def _judge(outcome: Outcome, load: Load, found: list[int]) -> None:
    """Alerts as the product would open them: a spike is found by one that begins with it, not by one that was open before."""
    from billing.alerts import jump
    from billing.alerts.metrics import METRICS

    quiet = METRICS[jump.METRIC].quiet.total_seconds() / 60
    minutes = np.array(found, dtype=int)
    opened = minutes[np.diff(minutes, prepend=-np.inf) > quiet] if len(minutes) else minutes
    false = np.ones(len(opened), dtype=bool)
    for spike in load.spikes:
        of_it = (opened >= spike.begins) & (opened <= spike.ends + AFTER_MINUTES)
        is_big = spike.usd >= 2 * float(jump.FLOOR_USD) and spike.requests >= 2 * jump.LEAST_REQUESTS
        outcome.spikes += int(is_big)
        outcome.too_small += int(not is_big)
        if is_big and of_it.any():
            outcome.minutes.append(float(opened[of_it].min() - spike.begins))
        false &= ~of_it
    outcome.alarms = int(false.sum())
