"""A month on a page: its totals and the most expensive groups of each section, from the sums by day.

Invariant: it reads no ledger row but those that correct another month, so a month of ten million rows is as fast as its sums.
They are booked by period, so its totals are the statement's; `pending_days` says how many days are being summed again.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from billing.ledger.dimensions import DIMENSIONS
from billing.ledger.measures import ENTRIES
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


def _usd(column: str, where: str = "true") -> str:
    return f"coalesce(sum(d.{column}) FILTER (WHERE {where}), 0)"


def _count(column: str, where: str = "true") -> str:
    return f"{_usd(column, where)}::bigint"


_MEASURES: Final = {
    "requests": _count("requests"),
    "calls": _count("calls"),
    "further_calls": _count("further_calls"),
    "own_calls": _count("own_calls"),
    "cache_hits": _count("requests", "d.usage_source = 'gateway_cache'"),
    "estimated_requests": _count("requests", "d.usage_source = 'estimated'"),
    "unallocated_requests": _count("requests", "d.missing_tags <> ''"),
    **{
        name: _count(name)
        for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    },
    "saved_tokens": f"{_count('saved_input_tokens')} + {_count('saved_output_tokens')}",
    "list_cost_usd": _usd("list_cost"),
    "saved_usd": _usd("saved_cost"),
    "contracted_cost_usd": _usd("contracted_cost"),
    **{f"{name}_usd": _usd("billed_cost", f"d.kind = '{kind}'") for name, kind in ENTRIES.items()},
    "billed_cost_usd": _usd("billed_cost"),
    **{f"{name}_usd": _usd("billed_cost", f"d.certainty = '{name}'") for name in CERTAINTIES},
    "least_usd": _usd("least_cost"),
    "most_usd": _usd("most_cost"),
    "unallocated_usd": _usd("billed_cost", "d.missing_tags <> ''"),
}
_FIGURES: Final = ", ".join(f"{sql} AS {name}" for name, sql in _MEASURES.items())
# what each section is cut by
_SECTIONS: Final = {
    one.section: ("provider", "model") if one.column == "model" else (one.column,)
    for one in DIMENSIONS
    if one.section
} | {"By day, UTC": ("day",)}
_COLUMNS: Final = tuple(dict.fromkeys(column for columns in _SECTIONS.values() for column in columns))
_OF_PERIOD: Final = "d.tenant_id = %(tenant)s AND d.period_id = %(period)s"
# All sections in one pass over the sums; `cut` has a bit for each column that a row is not cut by, the last one's is 1.
GROUPS: Final = f"""
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY cut ORDER BY billed_cost_usd DESC, saved_usd DESC, {
    ", ".join(_COLUMNS)
}) AS place,
           count(*) OVER (PARTITION BY cut) AS group_count
    FROM (SELECT GROUPING({", ".join(f"d.{name}" for name in _COLUMNS)}) AS cut,
                 {", ".join(f"d.{name}" for name in _COLUMNS)}, {_FIGURES}
          FROM billing_usagedaily AS d WHERE {_OF_PERIOD}
          GROUP BY GROUPING SETS ((), {
    ", ".join(f"({', '.join(f'd.{name}' for name in columns)})" for columns in _SECTIONS.values())
})) AS sums) AS ranked
WHERE place <= %(shown)s OR (day IS NOT NULL AND place <= {DAYS_SHOWN}) ORDER BY cut, place
"""
SAVED: Final = f"""
SELECT {
    ", ".join(
        f"coalesce(sum((d.saving ->> '{step}')::numeric), 0) AS {step}" for step in (*STEPS, FURTHER_CALLS)
    )
}
FROM billing_usagedaily AS d WHERE {_OF_PERIOD}
"""
CERTAINTY: Final = f"""
SELECT d.certainty, sum(d.records)::bigint AS records, sum(d.billed_cost) AS amount_usd, sum(d.least_cost) AS least_usd,
       sum(d.most_cost) AS most_usd
FROM billing_usagedaily AS d WHERE {_OF_PERIOD} GROUP BY d.certainty
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
    rows = read_rows(GROUPS, arguments)
    whole = next((row for row in rows if row["cut"] == _cut_of(())), None)
    totals = _measures(whole) if whole else Measures()
    steps = waterfall(totals, read_rows(SAVED, arguments)[0])
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
        sections=_sections(rows, arguments),
        invoice=invoice_of(period),
        rate=None if period and period.status == BillingPeriod.Status.CLOSED else rate_of_now(tenant, period),
    )


def _measures(row: dict[str, Any]) -> Measures:
    return Measures(**{field.name: row[field.name] for field in fields(Measures)})


def _cut_of(columns: tuple[str, ...]) -> int:
    """PostgreSQL's GROUPING() of rows that are cut by these columns."""
    return sum(1 << place for place, column in enumerate(reversed(_COLUMNS)) if column not in columns)


def _certainty(arguments: dict[str, Any]) -> tuple[Sure, ...]:
    found = {row["certainty"]: Sure(**row) for row in read_rows(CERTAINTY, arguments)}
    return tuple(found.get(name) or Sure(name, 0, NOTHING, NOTHING, NOTHING) for name in CERTAINTIES)


def _sections(rows: list[dict[str, Any]], arguments: dict[str, Any]) -> tuple[TopGroups, ...]:
    of_cut = {
        title: [row for row in rows if row["cut"] == _cut_of(columns)] for title, columns in _SECTIONS.items()
    }
    keys = [row["key_id"] for row in of_cut["By API key"] if row["key_id"] is not None]
    users = [row["user_id"] for row in of_cut["By user"]]
    names = {str(row["id"]): row["name"] for row in read_rows(KEYS, arguments | {"keys": keys})}
    people = {
        row["external_id"]: row["display_name"] for row in read_rows(PEOPLE, arguments | {"users": users})
    }
    named = {"By API key": names, "By user": people}
    return tuple(
        TopGroups(
            title=title,
            columns=columns,
            groups=tuple(_groups(of_cut[title], columns)),
            group_count=of_cut[title][0]["group_count"] if of_cut[title] else 0,
            names=named.get(title, {}),
        )
        for title, columns in _SECTIONS.items()
    )


def _groups(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[Group]:
    groups = [
        Group(tuple("" if row[name] is None else str(row[name]) for name in columns), _measures(row))
        for row in rows
    ]
    return sorted(groups, key=lambda group: group.labels) if columns == ("day",) else groups


def _pending_days(tenant: Tenant, starts_at: datetime, ends_at: datetime) -> int:
    marks = RollupDirty.objects.filter(tenant=tenant, day__gte=starts_at.date(), day__lte=ends_at.date())
    return marks.order_by().values("day").distinct().count()
