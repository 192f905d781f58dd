"""A month on a page: its totals and the most expensive groups of each section, from the sums of its period.

Invariant: it reads no ledger row but those that correct another month, and of each section the dearest groups by an index, so a
month of ten million rows is as fast as any.
They are booked by period, so its totals are the statement's; `pending_days` says how many days are being summed again.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from billing.ledger.dimensions import DIMENSIONS
from billing.models import BillingPeriod, RollupDirty
from billing.months.cuts import CERTAINTIES, read_rows
from billing.months.invoicing import rate_of_now
from billing.months.parts import (
    NOTHING,
    Group,
    Invoice,
    Measures,
    RateOfNow,
    Reconciliation,
    Sure,
    WaterfallStep,
)
from billing.months.reconciling import RECONCILE
from billing.months.report import check_waterfall, invoice_of, month_bounds, waterfall
from billing.prices.savings import FURTHER_CALLS, STEPS
from tenants.models import Tenant

GROUPS_SHOWN: Final = 25
DAYS_SHOWN: Final = 33


# what each section is cut by, a column of the days' sums
_SECTIONS: Final = {one.section: one.column for one in DIMENSIONS if one.section} | {"By day, UTC": "day"}
_MEASURES: Final = tuple(field.name for field in fields(Measures))
_OF_PERIOD: Final = "s.tenant_id = %(tenant)s AND s.period_id = %(period)s"
# All sections in one statement: of each the dearest values, by an index, and how many it has.
GROUPS: Final = f"""
SELECT section.dimension, section.group_count, dearest.*
FROM (SELECT s.dimension, count(*) AS group_count FROM billing_periodsum AS s
      WHERE {_OF_PERIOD} AND s.records <> 0 AND s.dimension = ANY (%(dimensions)s) GROUP BY s.dimension) AS section
CROSS JOIN LATERAL (
    SELECT s.provider, s.value, {", ".join(f"s.{name}" for name in _MEASURES)} FROM billing_periodsum AS s
    WHERE {_OF_PERIOD} AND s.records <> 0 AND s.dimension = section.dimension
    ORDER BY s.billed_cost_usd DESC, s.saved_usd DESC, s.value, s.provider
    LIMIT greatest(%(shown)s, {DAYS_SHOWN})) AS dearest
"""
_SUMS: Final = (
    f"coalesce(sum(s.{name}), 0){'' if name.endswith('_usd') else '::bigint'} AS {name}" for name in _MEASURES
)
TOTALS: Final = f"""
SELECT {", ".join(_SUMS)}
FROM billing_periodsum AS s WHERE {_OF_PERIOD} AND s.dimension = 'day'
"""
SAVED: Final = f"""
SELECT s.value AS step, s.saved_usd FROM billing_periodsum AS s WHERE {_OF_PERIOD} AND s.dimension = 'saving'
"""
CERTAINTY: Final = f"""
SELECT s.value AS certainty, s.records, s.billed_cost_usd AS amount_usd, s.least_usd, s.most_usd
FROM billing_periodsum AS s WHERE {_OF_PERIOD} AND s.dimension = 'certainty'
"""
KEYS: Final = "SELECT id, name FROM tenants_apikey WHERE tenant_id = %(tenant)s AND id = ANY(%(keys)s)"
PEOPLE: Final = """
SELECT external_id, display_name FROM tenants_enduser
WHERE tenant_id = %(tenant)s AND external_id = ANY(%(users)s) AND display_name <> ''
"""


@dataclass(frozen=True, slots=True)
class TopGroups:
    """The most expensive groups of a section, of how many; `names` are of people and keys."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    group_count: int
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class MonthOverview:
    """A month as far as a page shows it."""

    month: str
    timezone: str
    starts_at: datetime
    ends_at: datetime
    period_status: str
    pending_days: int
    totals: Measures
    certainty: tuple[Sure, ...]
    waterfall: tuple[WaterfallStep, ...]
    reconciliation: Reconciliation
    sections: tuple[TopGroups, ...]
    invoice: Invoice | None
    rate: RateOfNow | None = None


def month_overview(tenant: Tenant, *, month: str, shown: int = GROUPS_SHOWN) -> MonthOverview:
    """A tenant's month. A fixed number of queries. Raises InvalidMonth, UnbalancedReport."""
    starts_at, ends_at = month_bounds(month, tenant.timezone)
    period = BillingPeriod.objects.filter(tenant=tenant, label=month).first()
    if period is not None:
        starts_at, ends_at = period.starts_at, period.ends_at
    arguments: dict[str, Any] = {
        "tenant": tenant.pk,
        "period": period.pk if period else 0,
        "periods": [period.pk] if period else [],
        "starts_at": starts_at,
        "ends_at": ends_at,
        "shown": shown,
    }
    totals = _measures(read_rows(TOTALS, arguments)[0])
    saved = {row["step"]: row["saved_usd"] for row in read_rows(SAVED, arguments)}
    steps = waterfall(totals, {step: saved.get(step, NOTHING) for step in (*STEPS, FURTHER_CALLS)})
    check_waterfall(steps, totals)
    parts = read_rows(RECONCILE, arguments)[0]
    carried = parts["of_earlier_months_usd"] - parts["booked_later_usd"]
    return MonthOverview(
        month=month,
        timezone=period.timezone if period else tenant.timezone,
        starts_at=starts_at,
        ends_at=ends_at,
        period_status=period.status if period else "open",
        pending_days=_pending_days(tenant, starts_at, ends_at),
        totals=totals,
        certainty=_certainty(arguments),
        waterfall=steps,
        reconciliation=Reconciliation(
            by_time_usd=totals.billed_cost_usd - carried, booked_usd=totals.billed_cost_usd, **parts
        ),
        sections=_sections(arguments),
        invoice=invoice_of(period),
        rate=None if period and period.status == BillingPeriod.Status.CLOSED else rate_of_now(tenant, period),
    )


def _measures(row: dict[str, Any]) -> Measures:
    return Measures(**{name: row[name] for name in _MEASURES})


def _certainty(arguments: dict[str, Any]) -> tuple[Sure, ...]:
    found = {row["certainty"]: Sure(**row) for row in read_rows(CERTAINTY, arguments)}
    return tuple(found.get(name) or Sure(name, 0, NOTHING, NOTHING, NOTHING) for name in CERTAINTIES)


def _sections(arguments: dict[str, Any]) -> tuple[TopGroups, ...]:
    rows = read_rows(GROUPS, arguments | {"dimensions": list(_SECTIONS.values())})
    by_dimension = {name: [row for row in rows if row["dimension"] == name] for name in _SECTIONS.values()}
    keys = [int(row["value"]) for row in by_dimension["key_id"] if row["value"]]
    users = [row["value"] for row in by_dimension["user_id"]]
    names = {str(row["id"]): row["name"] for row in read_rows(KEYS, arguments | {"keys": keys})}
    people = {
        row["external_id"]: row["display_name"] for row in read_rows(PEOPLE, arguments | {"users": users})
    }
    named = {"key_id": names, "user_id": people}
    return tuple(
        TopGroups(
            title=title,
            columns=("provider", "model") if dimension == "model" else (dimension,),
            groups=tuple(_groups(by_dimension[dimension], dimension, shown=arguments["shown"])),
            group_count=by_dimension[dimension][0]["group_count"] if by_dimension[dimension] else 0,
            names=named.get(dimension, {}),
        )
        for title, dimension in _SECTIONS.items()
    )


def _groups(rows: list[dict[str, Any]], dimension: str, *, shown: int) -> list[Group]:
    """The dearest first; days in their order, and all of them."""
    groups = [
        Group((row["provider"], row["value"]) if dimension == "model" else (row["value"],), _measures(row))
        for row in rows
    ]
    if dimension == "day":
        return sorted(groups, key=attrgetter("labels"))
    return sorted(groups, key=_by_cost)[:shown]


def _by_cost(group: Group) -> tuple[Any, ...]:
    return (-group.measures.billed_cost_usd, -group.measures.saved_usd, group.labels)


def _pending_days(tenant: Tenant, starts_at: datetime, ends_at: datetime) -> int:
    marks = RollupDirty.objects.filter(tenant=tenant, day__gte=starts_at.date(), day__lte=ends_at.date())
    return marks.order_by().values("day").distinct().count()
