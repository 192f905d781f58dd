"""The month of one tenant, built from the ledger: what finance closes on.

Invariant: every section, the detail and the savings waterfall add up to the ledger to the last digit; a
report that does not is never returned, `month_report` raises `UnbalancedReport` instead.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from itertools import repeat
from operator import add, itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.utils.timezone import now

from billing.ledger.dimensions import DIMENSIONS, REPORTED
from billing.models import BillingPeriod
from billing.months import reading as month_reading
from billing.months.cuts import (
    COSTS,
    OF_PERIOD,
    Cut,
    Meter,
    Unbalanced,
    read_cuts,
    read_rows,
    read_totals,
    require_equal,
)
from tenants.models import Tenant


class InvalidMonth(ValueError):
    """The month is not written as YYYY-MM."""


class UnbalancedReport(Unbalanced):
    """A part of the report does not add up to the ledger."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is counted of any group of ledger rows (billing/ledger/measures.py). Each adds up over the groups of a section."""

    calls: int = 0
    cache_hits: int = 0
    estimated_calls: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    saved_tokens: int = 0
    list_cost_usd: Decimal = Decimal(0)
    contracted_cost_usd: Decimal = Decimal(0)
    billed_cost_usd: Decimal = Decimal(0)
    saved_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Group:
    """One row of a section: its labels, one for each dimension of the section, and its measures."""

    labels: tuple[str, ...]
    measures: Measures


@dataclass(frozen=True, slots=True)
class Section:
    """The whole month cut along one dimension."""

    name: str
    title: str
    dimensions: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class WaterfallStep:
    """One step from what the month would have cost without us to what is paid; savings are positive."""

    name: str
    amount_usd: Decimal


@dataclass(frozen=True, slots=True)
class DetailLine:
    """The finest cut: one meter of one day and of one value of every dimension, which `labels` names (DETAIL_LABELS)."""

    day: date
    labels: Mapping[str, str]
    meter: str
    quantity: int
    calls: int
    rows: int
    per: int
    unit_price_usd: Decimal | None
    list_cost_usd: Decimal
    contracted_cost_usd: Decimal
    billed_cost_usd: Decimal
    saved_usd: Decimal
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class MonthReport:
    """The month: its bounds, the ledger's totals, and every cut of them."""

    tenant_slug: str
    tenant_name: str
    month: str
    timezone: str
    starts_at: datetime
    ends_at: datetime
    period_status: str
    made_at: datetime
    totals: Measures
    waterfall: tuple[WaterfallStep, ...]
    sections: tuple[Section, ...]
    detail: tuple[DetailLine, ...]
    statement_code: str = ""  # of a closed month


# The dimensions of a cut, in SQL over a ledger row.
CUT = {
    "day": "(r.occurred_at AT TIME ZONE %(timezone)s)::date",
    **{column: f"r.{column}" for column in REPORTED},
    "tags": "r.tags",
}
KEYS = "SELECT id, name, public_id FROM tenants_apikey WHERE tenant_id = %(tenant)s"
PEOPLE = "SELECT external_id, display_name FROM tenants_enduser WHERE tenant_id = %(tenant)s"
SAVINGS = f"""
SELECT step.key AS name, sum(step.value::numeric) AS amount
FROM billing_usagerecord AS r CROSS JOIN LATERAL jsonb_each_text(r.saving) AS step
WHERE {OF_PERIOD} GROUP BY step.key
"""
# The labels of a dimension that has others than its value: in the detail, and in its own section.
NAMED = {"user_id": ("user",), "key_id": ("api_key", "api_key_id")}
NAMED_IN_SECTION = NAMED | {"user_id": ("user", "name"), "model": ("provider", "model")}
DETAIL_LABELS = tuple(label for column in REPORTED for label in NAMED.get(column, (column,)))
SORTED_FIRST = ("user", "api_key", "api_key_id", "feature", "provider", "model")
SORTED_LAST = tuple(label for label in DETAIL_LABELS if label not in SORTED_FIRST)
# The sections that are older than the list of dimensions keep their places in the workbook.
FIRST_SECTIONS = ("By user", "By API key", "By feature", "By model", "By cost centre")

# The order in which savings are taken off the list price; what the ledger names otherwise follows.
WATERFALL_ORDER = ("routing", "compression", "provider_cache", "gateway_cache", "batch", "negotiated")


def month_report(tenant: Tenant, *, month: str) -> MonthReport:
    """Build the report of a month ("2026-11", in the time zone of its period) from the ledger.

    Raises InvalidMonth, or UnbalancedReport when any part does not add up to the ledger. Holds one row per
    day and combination of dimensions in memory; the ledger itself is summed by PostgreSQL.
    """
    starts_at, ends_at = month_bounds(month, tenant.timezone)
    with _one_snapshot():
        month_reading.prepare()
        period = BillingPeriod.objects.filter(tenant=tenant, label=month).first()
        timezone = period.timezone if period else tenant.timezone
        arguments = {"tenant": tenant.pk, "period": period.pk if period else 0, "timezone": timezone}
        totals = _measures(read_totals(arguments))
        cuts = read_cuts(CUT, arguments)
        _name(cuts, arguments)
        waterfall = _waterfall(totals, {row["name"]: row["amount"] for row in read_rows(SAVINGS, arguments)})
    report = MonthReport(
        tenant_slug=tenant.slug,
        tenant_name=tenant.name,
        month=month,
        timezone=timezone,
        starts_at=period.starts_at if period else starts_at,
        ends_at=period.ends_at if period else ends_at,
        period_status=period.status if period else "open",
        made_at=now(),
        totals=totals,
        waterfall=waterfall,
        sections=_sections(cuts),
        detail=_detail(cuts),
    )
    check_balance(report)
    return report


def month_bounds(month: str, timezone: str) -> tuple[datetime, datetime]:
    """Return the first moment of a month and of the next, in a time zone; raise InvalidMonth."""
    match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", month)
    if match is None or int(match[1]) < 1:
        raise InvalidMonth(f"{month!r} is not a month such as 2026-11")
    year, number, zone = int(match[1]), int(match[2]), ZoneInfo(timezone)
    next_year, next_number = (year + 1, 1) if number == 12 else (year, number + 1)
    return datetime(year, number, 1, tzinfo=zone), datetime(next_year, next_number, 1, tzinfo=zone)


def check_balance(report: MonthReport) -> None:
    """Raise UnbalancedReport unless every part of the report adds up to the ledger's totals."""
    try:
        _check_parts(report)
    except Unbalanced as error:
        raise UnbalancedReport(str(error)) from error


def _check_parts(report: MonthReport) -> None:
    for section in report.sections:
        for field in fields(Measures):
            parts = sum(getattr(group.measures, field.name) for group in section.groups)
            require_equal(f"{section.name}.{field.name}", parts, getattr(report.totals, field.name))
    for name in ("calls", *COSTS, "saved_usd"):
        lines = (line for line in report.detail if name != "calls" or line.meter == "request")
        require_equal(
            f"detail.{name}", sum(getattr(line, name) for line in lines), getattr(report.totals, name)
        )
    first, *steps, last = report.waterfall
    saved = sum(step.amount_usd for step in steps)
    require_equal("waterfall", first.amount_usd - saved, last.amount_usd)
    require_equal("waterfall.saved", saved, report.totals.saved_usd)
    require_equal("waterfall.paid", last.amount_usd, report.totals.billed_cost_usd)


def _measures(figures: Mapping[str, Any]) -> Measures:
    return Measures(**{field.name: figures[field.name] for field in fields(Measures)})


def _name(cuts: list[Cut], arguments: dict[str, Any]) -> None:
    """Add the names of keys and people to the cuts; those that are gone have none."""
    keys = {row["id"]: (row["name"], row["public_id"]) for row in read_rows(KEYS, arguments)}
    people = {row["external_id"]: row["display_name"] for row in read_rows(PEOPLE, arguments)}
    for cut in cuts:
        values = cut.values
        values["user"], values["name"] = values["user_id"], people.get(values["user_id"], "")
        values["api_key"], values["api_key_id"] = keys.get(values["key_id"], ("", ""))


def _sections(cuts: list[Cut]) -> tuple[Section, ...]:
    """Sum the cuts into their sections, group with the highest cost first, days in order."""
    dimensions = sorted((one for one in DIMENSIONS if one.section), key=lambda one: _place_of(one.section))
    return (
        *(
            _section(
                f"{one.group or one.column}s",
                one.section,
                NAMED_IN_SECTION.get(one.column, (one.column,)),
                cuts,
                order=_dearest_first,
            )
            for one in dimensions
        ),
        _section("days", "By day", ("day",), cuts, order=lambda group: group.labels),
    )


def _place_of(title: str) -> int:
    return FIRST_SECTIONS.index(title) if title in FIRST_SECTIONS else len(FIRST_SECTIONS)


def _section(
    name: str, title: str, labels: tuple[str, ...], cuts: list[Cut], *, order: Callable[[Group], Any]
) -> Section:
    measures = [field.name for field in fields(Measures)]
    read = itemgetter(*measures)
    sums: dict[tuple[str, ...], list[Any]] = {}
    for cut in cuts:
        key = tuple(str(cut.values[label]) for label in labels)
        sums[key] = list(map(add, sums.get(key) or repeat(0), read(cut.figures)))
    groups = [
        Group(key, Measures(**dict(zip(measures, values, strict=True)))) for key, values in sums.items()
    ]
    return Section(name, title, labels, tuple(sorted(groups, key=order)))


def _detail(cuts: list[Cut]) -> tuple[DetailLine, ...]:
    """The meters of each cut, and one `request` line that counts its requests and carries what no meter explains.

    That is nothing on metered calls, and the whole amount of a credit. So the lines of a cut always make its costs.
    """
    lines = [line for cut in cuts for line in _lines(cut)]
    return tuple(sorted(lines, key=_place))


def _lines(cut: Cut) -> Iterator[DetailLine]:
    values, rows, calls = cut.values, cut.figures["rows"], cut.figures["calls"]
    labels = {label: values[label] or "" for label in DETAIL_LABELS}
    name, quantity = ("request", calls) if values["kind"] == "usage" else (values["kind"], rows)
    rest = Meter(name, 1, None, quantity, rows, calls, cut.unexplained)
    for meter in (*cut.meters, rest):
        listed, contracted, billed = meter.costs
        yield DetailLine(
            day=values["day"],
            labels=labels,
            meter=meter.name,
            quantity=meter.quantity,
            calls=meter.calls,
            rows=meter.rows,
            per=meter.per,
            unit_price_usd=meter.unit_price,
            list_cost_usd=listed,
            contracted_cost_usd=contracted,
            billed_cost_usd=billed,
            saved_usd=cut.figures["saved_usd"] if meter is rest else Decimal(0),
            tags=json.loads(values["tags"]),
        )


def _place(line: DetailLine) -> tuple[object, ...]:
    return (
        line.day, *(line.labels[label] for label in SORTED_FIRST), line.meter, line.unit_price_usd or 0, line.per,
        *(line.labels[label] for label in SORTED_LAST), sorted(line.tags.items()),
    )  # fmt: skip


def _dearest_first(group: Group) -> tuple[Any, ...]:
    return -group.measures.billed_cost_usd, -group.measures.saved_usd, group.labels


def _waterfall(totals: Measures, savings: dict[str, Decimal]) -> tuple[WaterfallStep, ...]:
    """From the price without us down to what is paid. What the ledger does not explain would be `other`."""
    steps = [WaterfallStep(name, savings.pop(name, Decimal(0))) for name in WATERFALL_ORDER]
    steps += [WaterfallStep(name, amount) for name, amount in sorted(savings.items())]
    return (
        WaterfallStep("list_price", totals.list_cost_usd),
        *steps,
        WaterfallStep("paid", totals.billed_cost_usd),
    )


@contextmanager
def _one_snapshot() -> Iterator[None]:
    """All queries of a report see one state of the ledger, while calls go on being settled."""
    if connection.in_atomic_block:  # the caller's transaction decides; it may have read already
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
