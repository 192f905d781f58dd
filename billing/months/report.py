"""The month of one tenant, built from the ledger: what finance closes on.

Invariant: every section, the detail and the savings waterfall add up to the ledger to the last digit; a
report that does not is never returned, `month_report` raises `UnbalancedReport` instead.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from itertools import repeat
from operator import add, itemgetter, sub
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.utils.timezone import now

from billing.models import BillingPeriod
from billing.months import reading as month_reading
from billing.months.report_queries import CUT, KEYS, METERS, PEOPLE, RECORDS, SAVINGS, TOTALS
from tenants.models import Tenant


class InvalidMonth(ValueError):
    """The month is not written as YYYY-MM."""


class UnbalancedReport(Exception):
    """A part of the report does not add up to the ledger."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is counted of any group of ledger rows. Each adds up over the groups of a section."""

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
    """The finest cut: one meter of one day, user, key, feature, model and the rest of the dimensions."""

    day: date
    user: str
    api_key: str
    api_key_id: str
    feature: str
    project: str
    cost_center: str
    provider: str
    model: str
    service_tier: str
    processing: str
    region: str
    kind: str
    charge_class: str
    usage_source: str
    meter: str
    quantity: int
    calls: int
    per: int
    unit_price_usd: Decimal | None
    list_cost_usd: Decimal
    contracted_cost_usd: Decimal
    billed_cost_usd: Decimal
    saved_usd: Decimal
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
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


# name, title, dimensions, the columns of a cut that label a group
SECTIONS = (
    ("users", "By user", ("user", "name"), ("user_id", "user_name")),
    ("keys", "By API key", ("api_key", "api_key_id"), ("api_key", "api_key_id")),
    ("features", "By feature", ("feature",), ("feature",)),
    ("models", "By model", ("provider", "model"), ("provider", "model")),
    ("cost_centers", "By cost centre", ("cost_center",), ("cost_center",)),
    ("days", "By day", ("day",), ("day",)),
)

# The order in which savings are taken off the list price; what the ledger names otherwise follows.
WATERFALL_ORDER = ("routing", "compression", "provider_cache", "gateway_cache", "batch", "negotiated")


def month_report(tenant: Tenant, *, month: str) -> Report:
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
        totals = Measures(**_rows(TOTALS, arguments)[0])
        cuts, meters = _named(_rows(RECORDS, arguments), arguments), _rows(METERS, arguments)
        waterfall = _waterfall(totals, {row["name"]: row["amount"] for row in _rows(SAVINGS, arguments)})
    report = Report(
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
        detail=_detail(cuts, meters),
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


def check_balance(report: Report) -> None:
    """Raise UnbalancedReport unless every part of the report adds up to the ledger's totals."""
    for section in report.sections:
        for field in fields(Measures):
            parts = sum(getattr(group.measures, field.name) for group in section.groups)
            _require_equal(f"{section.name}.{field.name}", parts, getattr(report.totals, field.name))
    for name in ("calls", "list_cost_usd", "contracted_cost_usd", "billed_cost_usd", "saved_usd"):
        lines = (line for line in report.detail if name != "calls" or line.meter == "request")
        _require_equal(
            f"detail.{name}", sum(getattr(line, name) for line in lines), getattr(report.totals, name)
        )
    first, *steps, last = report.waterfall
    paid = first.amount_usd - sum(step.amount_usd for step in steps)
    _require_equal("waterfall", paid, last.amount_usd)
    _require_equal("waterfall.paid", last.amount_usd, report.totals.billed_cost_usd)


def _require_equal(what: str, got: Decimal | int, expected: Decimal | int) -> None:
    if got != expected:
        raise UnbalancedReport(f"{what}: the parts make {got}, the ledger says {expected}")


def _named(cuts: list[dict[str, Any]], arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The cuts with the names of their keys and people; those that are gone have none."""
    keys = {row["id"]: (row["name"], row["public_id"]) for row in _rows(KEYS, arguments)}
    people = {row["external_id"]: row["display_name"] for row in _rows(PEOPLE, arguments)}
    for cut in cuts:
        cut["api_key"], cut["api_key_id"] = keys.get(cut["key_id"], ("", ""))
        cut["user_name"] = people.get(cut["user_id"], "")
    return cuts


def _sections(cuts: list[dict[str, Any]]) -> tuple[Section, ...]:
    """Sum the cuts into their sections, dearest group first, days in order."""
    measures = [field.name for field in fields(Measures)]
    read = itemgetter(*measures)
    sections = []
    for name, title, dimensions, columns in SECTIONS:
        sums: dict[tuple[str, ...], list[Any]] = {}
        for cut in cuts:
            labels = tuple(str(cut[column]) for column in columns)
            sums[labels] = list(map(add, sums.get(labels) or repeat(0), read(cut)))
        groups = [
            Group(labels, Measures(**dict(zip(measures, values, strict=True))))
            for labels, values in sums.items()
        ]
        by_cost = (lambda group: group.labels) if name == "days" else _dearest_first
        sections.append(Section(name, title, dimensions, tuple(sorted(groups, key=by_cost))))
    return tuple(sections)


def _detail(cuts: list[dict[str, Any]], meters: list[dict[str, Any]]) -> tuple[DetailLine, ...]:
    """The meters of each cut, and one `request` line that counts its calls and carries what no meter explains.

    That is nothing on metered calls, and the whole amount of a credit. So the lines of a cut always make its costs.
    """
    costs = ("list_cost_usd", "contracted_cost_usd", "billed_cost_usd")
    which = itemgetter(*CUT)
    by_cut = {which(cut): cut for cut in cuts}
    unexplained = {key: [cut[cost] for cost in costs] for key, cut in by_cut.items()}
    lines = []
    for row in meters:
        key = which(row)
        amounts = [row[cost] for cost in costs]
        unexplained[key] = list(map(sub, unexplained[key], amounts))
        lines.append(
            _line(
                by_cut[key],
                row["meter"],
                row["quantity"],
                row["rows"],
                row["per"],
                row["unit_price"],
                amounts,
            )
        )
    for key, cut in by_cut.items():
        meter = "request" if cut["kind"] == "usage" else cut["kind"]
        lines.append(_line(cut, meter, cut["rows"], cut["rows"], 1, None, unexplained[key], cut["saved_usd"]))
    return tuple(sorted(lines, key=_place))


def _line(
    cut: dict[str, Any],
    meter: str,
    quantity: int,
    calls: int,
    per: int,
    unit_price: Decimal | None,
    costs: list[Decimal],
    saved: Decimal = Decimal(0),
) -> DetailLine:
    listed, contracted, billed = costs
    return DetailLine(
        day=cut["day"], user=cut["user_id"], api_key=cut["api_key"], api_key_id=cut["api_key_id"],
        feature=cut["feature"], project=cut["project"], cost_center=cut["cost_center"], provider=cut["provider"],
        model=cut["model"], service_tier=cut["service_tier"], processing=cut["processing"], region=cut["region"],
        kind=cut["kind"], charge_class=cut["charge_class"] or "", usage_source=cut["usage_source"], meter=meter,
        quantity=quantity, calls=calls, per=per, unit_price_usd=unit_price, list_cost_usd=listed,
        contracted_cost_usd=contracted, billed_cost_usd=billed, saved_usd=saved, tags=json.loads(cut["tags"]),
    )  # fmt: skip


def _place(line: DetailLine) -> tuple[object, ...]:
    return (
        line.day, line.user, line.api_key, line.api_key_id, line.feature, line.provider, line.model, line.meter,
        line.processing, line.unit_price_usd or 0, line.per, line.project, line.cost_center, line.kind, line.charge_class,
        line.usage_source, line.service_tier, line.region, sorted(line.tags.items()),
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


def _rows(sql: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
