"""What a rule would have found in the last thirty days: how often it would have told somebody, and on which days.

Invariant: nothing is written, and what is read is bounded: spans of five minutes, windows of budgets, and of the ledger only
sessions that asked often enough. What is not kept is not guessed: the preview says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from django.db import connection

from billing.alerts import jump, loops
from billing.alerts.metrics import facts_of
from billing.alerts.rises import IN_A_DAY, LENGTH, Fortnight, calendar_of, rise_of
from billing.alerts.spans import SPAN, floor
from billing.alerts.watches import LEAST_ASKED, LEAST_USUAL
from billing.models import UsageSpan
from tenants.models import Tenant

DAYS: Final = 30
MOST_JUDGED: Final = 2_000  # ten minutes that could be a jump, the dearest first
MOST_SESSIONS: Final = 200  # with the most requests
MOST_WINDOWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which tenant, with which threshold, and for which time something is asked."""

    tenant: Tenant
    threshold: Decimal
    since: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """The moments at which a rule's condition was true; the note says what they are not, and `is_known` whether any could be."""

    moments: Sequence[datetime]
    note: str = ""
    is_known: bool = True
    is_each_one: bool = False  # whether each is an alert of its own, however close it is to another


@dataclass(frozen=True, slots=True)
class Preview:
    """How often a rule would have told, and on which of the tenant's days how often, the newest first."""

    times: int
    days: Sequence[tuple[date, int]]
    note: str = ""
    is_known: bool = True


Past = Callable[[Asked], Seen]


def preview(tenant: Tenant, metric: str, threshold: Decimal, *, at: datetime) -> Preview:
    """What a rule would have found."""
    seen = PASTS[metric](Asked(tenant, threshold, at - timedelta(days=DAYS), at))
    moments = sorted(seen.moments)
    if not seen.is_each_one:
        quiet = facts_of(metric).quiet
        moments = [
            one for number, one in enumerate(moments) if not number or one - moments[number - 1] > quiet
        ]
    zone = ZoneInfo(tenant.timezone)
    days: dict[date, int] = {}
    for moment in reversed(moments):
        day = moment.astimezone(zone).date()
        days[day] = days.get(day, 0) + 1
    return Preview(len(moments), list(days.items()), seen.note, seen.is_known)


def not_kept(what: str) -> Past:
    """For what nobody can tell afterwards."""
    return lambda asked: Seen([], note=f"{what} is not kept: what was cannot be told.", is_known=False)


def _request_cost(asked: Asked) -> Seen:
    spans = _spans(asked).filter(dearest_usd__gt=asked.threshold).values_list("at", flat=True)
    return Seen(list(spans), note="All keys together; a rule tells of each key for itself.")


def _unpriced(asked: Asked) -> Seen:
    return Seen(
        list(_spans(asked).filter(unpriced__gt=0).values_list("at", flat=True)), note="All models together."
    )


def _unread(asked: Asked) -> Seen:
    return Seen(
        list(_spans(asked).filter(unread__gt=0).values_list("at", flat=True)), note="All models together."
    )


def _day_spend(asked: Asked) -> Seen:
    zone, spent, told = ZoneInfo(asked.tenant.timezone), dict[date, Decimal](), []
    for at, usd in _spans(asked).order_by("at").values_list("at", "billed_usd"):
        day = at.astimezone(zone).date()
        before = spent.get(day, Decimal(0))
        spent[day] = before + usd
        if before < asked.threshold <= spent[day]:
            told.append(at)
    return Seen(told, is_each_one=True)


def _spend_jump(asked: Asked) -> Seen:
    usd, requests, _, first = _arrays(asked, days=DAYS + 16)
    zone, count = ZoneInfo(asked.tenant.timezone), len(usd)
    ten = usd[1:] + usd[:-1]
    possible = np.flatnonzero(
        (ten >= float(jump.FLOOR_USD))
        & (requests[1:] + requests[:-1] >= jump.LEAST_REQUESTS)
        & (np.arange(1, count) >= count - DAYS * IN_A_DAY)
    )
    dearest = possible[np.argsort(-ten[possible])][:MOST_JUDGED] + 1
    told = []
    for span in dearest:
        begins = floor(asked.at) - (count - 1 - int(span)) * SPAN
        past = slice(int(span) + 1 - LENGTH, int(span) + 1)
        known, minutes = int(span) - first + 1, 2 * SPAN / timedelta(minutes=1)
        calendar = calendar_of(begins, zone)
        judged = Fortnight(usd[past], requests[past], calendar, known, minutes, booked=minutes)
        if rise_of(judged, threshold=float(asked.threshold)):
            told.append(begins + SPAN)
    return Seen(told, note="Looked at every five minutes; a watch looks every minute.")


def _hit_rate_drop(asked: Asked) -> Seen:
    _, requests, hits, _ = _arrays(asked, days=DAYS + 16)
    hour = np.ones(12)
    of_hour = [np.convolve(values, hour)[: len(values)] for values in (requests, hits)]
    usual = [np.zeros(len(requests)) for _ in of_hour]
    for values, sums in zip(of_hour, usual, strict=True):
        for ago in range(1, 15):
            sums[ago * IN_A_DAY :] += values[: -ago * IN_A_DAY]
    with np.errstate(divide="ignore", invalid="ignore"):
        fallen = 100 * (usual[1] / usual[0] - of_hour[1] / of_hour[0])
    enough = (of_hour[0] >= LEAST_ASKED) & (usual[0] >= LEAST_USUAL)
    late = np.arange(len(requests)) >= len(requests) - DAYS * IN_A_DAY
    fell = np.flatnonzero(enough & late & (fallen >= float(asked.threshold)))
    return Seen([floor(asked.at) - (len(requests) - 2 - int(span)) * SPAN for span in fell])


WINDOWS: Final = """
SELECT max(least(w.ends_at, %(at)s)) FROM billing_budgetwindow w JOIN billing_budget b ON b.id = w.budget_id
WHERE w.tenant_id = %(tenant)s AND b.tenant_id = %(tenant)s AND b.limit_amount > 0 AND (b.scope = 'run') = %(of_runs)s
  AND (w.ends_at > %(since)s OR w.ends_at IS NULL) AND w.starts_at < %(at)s AND (w.ends_at <= %(at)s OR NOT %(is_over)s)
GROUP BY w.budget_id, w.subject, w.starts_at, b.limit_amount
HAVING sum(w.spent) * 100 >= %(threshold)s * b.limit_amount AND sum(w.spent) > 0
LIMIT %(most)s
"""


def _budget_percent(asked: Asked) -> Seen:
    return _windows(asked, note="By today's limits; each window counts on its last day so far.")


def _forecast_percent(asked: Asked) -> Seen:
    note = "Windows that ended above it, on their last day; a forecast tells before, and may tell of others."
    return _windows(asked, is_over=True, note=note)


def _envelope_percent(asked: Asked) -> Seen:
    return _windows(asked, of_runs=True, note="By the envelopes' first limits.")


def _windows(asked: Asked, *, note: str, of_runs: bool = False, is_over: bool = False) -> Seen:
    moments = _ask(WINDOWS, asked, of_runs=of_runs, is_over=is_over, most=MOST_WINDOWS)
    # a window that ends at midnight belongs to the day before
    return Seen(
        [(moment or asked.at) - timedelta(seconds=1) for moment in moments], note=note, is_each_one=True
    )


_OFTEN: Final = """r.tenant_id = %(tenant)s AND r.occurred_at >= %(since)s AND r.occurred_at < %(at)s AND r.session = ANY (ARRAY(
    SELECT session FROM billing_agenthour
    WHERE tenant_id = %(tenant)s AND hour >= %(since)s AND hour < %(at)s AND session <> '' AND requests >= %(threshold)s / 2
    GROUP BY session ORDER BY max(requests) DESC LIMIT %(most)s))"""
REPEATS: Final = f"""{loops.repeats(_OFTEN, slot="date_bin('10 minutes', r.occurred_at, 'epoch')")}
SELECT slot FROM worst WHERE times >= %(threshold)s
"""


def _session_repeats(asked: Asked) -> Seen:
    note = "In fixed ten minutes, all sessions together; a watch looks at each ten minutes that end with a minute."
    return Seen(_ask(REPEATS, asked, most=MOST_SESSIONS), note=note)


PASTS: Final[dict[str, Past]] = {
    "request_cost": _request_cost,
    "day_spend": _day_spend,
    "spend_jump": _spend_jump,
    "budget_percent": _budget_percent,
    "forecast_percent": _forecast_percent,
    "unpriced_usage": _unpriced,
    "unread_usage": _unread,
    "hit_rate_drop": _hit_rate_drop,
    "hold_minutes": not_kept("For how long an amount was held"),
    "session_repeats": _session_repeats,
    "envelope_percent": _envelope_percent,
}


def _spans(asked: Asked) -> Any:
    return UsageSpan.objects.filter(tenant=asked.tenant, at__gte=asked.since, at__lt=asked.at)


def _arrays(asked: Asked, *, days: int) -> tuple[Any, Any, Any, int]:
    """USD without the dearest requests, requests and hits of all spans of so many days, and which is the first that is known."""
    count, last = days * IN_A_DAY, floor(asked.at)
    sums = np.zeros((3, count))
    rows = UsageSpan.objects.filter(tenant=asked.tenant, at__gt=last - count * SPAN, at__lte=last)
    first = count
    for at, usd, dearest, requests, hits in rows.values_list(
        "at", "billed_usd", "dearest_usd", "requests", "hits"
    ):
        place = count - 1 - (last - at) // SPAN
        sums[:, place] = float(usd - dearest), requests, hits
        first = min(first, place)
    return sums[0], sums[1], sums[2], first


def _ask(query: str, asked: Asked, **more: Any) -> list[Any]:
    values = {
        "tenant": asked.tenant.pk,
        "since": asked.since,
        "at": asked.at,
        "threshold": asked.threshold,
        **more,
    }
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return [row[0] for row in cursor.fetchall()]
