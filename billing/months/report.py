"""The month of one tenant, built from the ledger: what finance closes on.

Invariant: every section, the detail and the savings waterfall add up to the ledger to the last digit; a
report that does not is never returned, `month_report` raises `UnbalancedReport` instead.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from itertools import repeat
from operator import add, itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Sum
from django.utils.timezone import now

from billing.ledger.dimensions import DIMENSIONS, REPORTED
from billing.ledger.measures import ENTRIES
from billing.models import BillingPeriod, Statement
from billing.months import reading as month_reading
from billing.months.cuts import (
    COSTS,
    Cut,
    Meter,
    Unbalanced,
    read_cuts,
    read_rows,
    read_whole,
    require_equal,
)
from billing.months.invoicing import stored_terms
from billing.months.parts import (
    NOTHING,
    DetailLine,
    Group,
    Invoice,
    Measures,
    MonthReport,
    Reconciliation,
    Section,
    WaterfallStep,
)
from billing.months.reconciling import PROVE
from billing.prices.savings import FURTHER_CALLS
from billing.prices.savings import STEPS as SAVING_STEPS
from tenants.models import Tenant


class InvalidMonth(ValueError):
    """The month is not written as YYYY-MM."""


class UnbalancedReport(Unbalanced):
    """A part of the report does not add up to the ledger."""


# The dimensions of a cut, in SQL over a ledger row.
CUT = {
    "day": "(r.occurred_at AT TIME ZONE %(timezone)s)::date",
    **{column: f"r.{column}" for column in REPORTED},
    "certainty": "known.certainty",
    "reason": "CASE WHEN r.kind = 'usage' THEN '' ELSE r.reason END",
    "tags": "r.tags",
}
KEYS = "SELECT id, name, public_id FROM tenants_apikey WHERE tenant_id = %(tenant)s"
PEOPLE = "SELECT external_id, display_name FROM tenants_enduser WHERE tenant_id = %(tenant)s"
# The labels of a dimension that has others than its value: in the detail, and in its own section.
NAMED = {"user_id": ("user",), "key_id": ("api_key", "api_key_id")}
NAMED_IN_SECTION = NAMED | {"user_id": ("user", "name"), "model": ("provider", "model")}
DETAIL_LABELS = (
    *(label for column in REPORTED for label in NAMED.get(column, (column,))),
    *("certainty", "reason"),
)
SORTED_FIRST = ("user", "api_key", "api_key_id", "feature", "provider", "model")
SORTED_LAST = tuple(label for label in DETAIL_LABELS if label not in SORTED_FIRST)
# The sections that are older than the list of dimensions keep their places in the workbook.
FIRST_SECTIONS = ("By user", "By API key", "By feature", "By model", "By cost centre")

MOST_TAGS = 20  # tags that get a section of their own, the most expensive ones


def month_report(tenant: Tenant, *, month: str) -> MonthReport:
    """Build the report of a month ("2026-11", in the time zone of its period) from the ledger.

    Raises InvalidMonth, or UnbalancedReport when any part does not add up to the ledger. Holds one row per
    day and combination of dimensions in memory; the ledger itself is summed by PostgreSQL.
    """
    starts_at, ends_at = month_bounds(month, tenant.timezone)
    with one_snapshot():
        month_reading.prepare()
        period = BillingPeriod.objects.filter(tenant=tenant, label=month).first()
        arguments: dict[str, Any] = {
            "tenant": tenant.pk,
            "period": period.pk if period else 0,
            "periods": [period.pk] if period else [],
            "timezone": period.timezone if period else tenant.timezone,
            "starts_at": period.starts_at if period else starts_at,
            "ends_at": period.ends_at if period else ends_at,
        }
        whole = read_whole(arguments)
        totals = _measures(whole.figures)
        cuts = read_cuts(CUT, arguments)
        _name(cuts, arguments)
        report = MonthReport(
            tenant_slug=tenant.slug,
            tenant_name=tenant.name,
            month=month,
            timezone=arguments["timezone"],
            starts_at=arguments["starts_at"],
            ends_at=arguments["ends_at"],
            period_status=period.status if period else "open",
            made_at=now(),
            totals=totals,
            certainty=whole.certainty,
            waterfall=waterfall(totals, whole.steps),
            reconciliation=Reconciliation(
                booked_usd=totals.billed_cost_usd,
                **read_rows(PROVE, arguments)[0],
            ),
            sections=_sections(cuts),
            detail=_detail(cuts),
            invoice=invoice_of(period),
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
    totals = report.totals
    for section in report.sections:
        for field in fields(Measures):
            parts = sum(getattr(group.measures, field.name) for group in section.groups)
            whole = getattr(totals, field.name) * section.wholes
            require_equal(f"{section.name}.{field.name}", parts, whole)
    for name in ("requests", "calls", *COSTS, "saved_usd"):
        parts = sum(getattr(line, name) for line in report.detail)
        require_equal(f"detail.{name}", parts, getattr(totals, name))
    for name, whole in (("requests", totals.requests), ("saved_usd", totals.saved_usd)):
        parts = sum(getattr(line, f"charge_{name}") for line in report.detail)
        require_equal(f"detail.charge_{name}", parts, whole)
    for sure in report.certainty:
        require_equal(sure.certainty, sure.amount_usd, getattr(totals, f"{sure.certainty}_usd"))
    require_equal("certainty", sum(sure.amount_usd for sure in report.certainty), totals.billed_cost_usd)
    check_waterfall(report.waterfall, totals)
    by = report.reconciliation
    booked = by.by_time_usd - by.booked_later_usd + by.of_earlier_months_usd
    require_equal("reconciliation", booked, totals.billed_cost_usd)


def check_waterfall(steps: tuple[WaterfallStep, ...], totals: Measures) -> None:
    """Raise Unbalanced unless the steps lead from the list price to what is paid, and those of savings make what is saved."""
    first, *between, last = steps
    entries = sum(-getattr(totals, f"{name}_usd") for name in ENTRIES)
    off = sum(step.amount_usd for step in between)
    require_equal("waterfall", first.amount_usd - off, last.amount_usd)
    require_equal("waterfall.saved", off - entries, totals.saved_usd)
    require_equal("waterfall.paid", last.amount_usd, totals.billed_cost_usd)


def invoice_of(period: BillingPeriod | None) -> Invoice | None:
    """What a closed month is asked for, as its statement says."""
    statement = Statement.objects.filter(period=period).first() if period else None
    if statement is None:
        return None
    owed = statement.lines.order_by().values("cost_center").annotate(owed=Sum("amount"))
    by_center = {row["cost_center"]: row["owed"] for row in owed}
    return Invoice(
        statement.code,
        statement.issuer,
        statement.currency,
        dict(sorted(by_center.items())),
        statement.issued_at,
        statement.tax,
        stored_terms(statement.terms),
    )


def _measures(figures: Mapping[str, Any]) -> Measures:
    return Measures(**{field.name: figures[field.name] for field in fields(Measures)})


def _name(cuts: list[Cut], arguments: dict[str, Any]) -> None:
    """Add the names of keys and people to the cuts; those that are gone have none."""
    keys = {row["id"]: (row["name"], row["public_id"]) for row in read_rows(KEYS, arguments)}
    people = {row["external_id"]: row["display_name"] for row in read_rows(PEOPLE, arguments)}
    for cut in cuts:
        values = cut.values
        values["tags"] = json.loads(values["tags"])
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
                order=dearest_first,
            )
            for one in dimensions
        ),
        *_tags(cuts),
        _section("days", "By day", ("day",), cuts, order=lambda group: group.labels),
    )


def _tags(cuts: list[Cut]) -> Iterator[Section]:
    """The whole along each tag, with what lacks it; the most expensive tags only: a client can make any number of them."""
    spent: dict[str, Decimal] = {}
    for cut in cuts:
        for tag in cut.values["tags"]:
            spent[tag] = spent.get(tag, NOTHING) + cut.figures["billed_cost_usd"]
    names = sorted(spent, key=lambda tag: (-spent[tag], tag))[:MOST_TAGS]
    groups = [
        group
        for tag in names
        for group in _groups(cuts, lambda cut, tag=tag: (tag, cut.values["tags"].get(tag, "")))  # type: ignore[misc]
    ]
    if names:
        yield Section("tags", "By tag", ("tag", "value"), tuple(groups), wholes=len(names))


def _place_of(title: str) -> int:
    return FIRST_SECTIONS.index(title) if title in FIRST_SECTIONS else len(FIRST_SECTIONS)


def _section(
    name: str, title: str, labels: tuple[str, ...], cuts: list[Cut], *, order: Callable[[Group], Any]
) -> Section:
    groups = _groups(cuts, lambda cut: tuple(str(cut.values[label]) for label in labels))
    return Section(name, title, labels, tuple(sorted(groups, key=order)))


def _groups(cuts: list[Cut], labels_of: Callable[[Cut], tuple[str, ...]]) -> list[Group]:
    """The cuts summed by their labels, group with the highest cost first."""
    measures = [field.name for field in fields(Measures)]
    read = itemgetter(*measures)
    sums: dict[tuple[str, ...], list[Any]] = {}
    for cut in cuts:
        key = labels_of(cut)
        sums[key] = list(map(add, sums.get(key) or repeat(0), read(cut.figures)))
    groups = [
        Group(key, Measures(**dict(zip(measures, values, strict=True)))) for key, values in sums.items()
    ]
    return sorted(groups, key=dearest_first)


def _detail(cuts: list[Cut]) -> tuple[DetailLine, ...]:
    """The meters of each cut, and one `request` line that counts its requests and carries what no meter explains.

    That is nothing on metered calls, and the whole amount of a credit. So the lines of a cut always make its costs.
    """
    lines = [line for cut in cuts for line in _lines(cut)]
    return tuple(sorted(lines, key=_place))


def _lines(cut: Cut) -> Iterator[DetailLine]:
    values, figures = cut.values, cut.figures
    labels = {label: values[label] or "" for label in DETAIL_LABELS}
    is_usage = values["kind"] == "usage"
    name, quantity = ("request", figures["requests"]) if is_usage else (values["kind"], figures["rows"])
    rest = Meter(name, 1, None, quantity, figures["rows"], cut.unexplained[-1], cut.unexplained)
    first = cut.meters[0] if cut.meters else rest
    for meter in (*cut.meters, rest):
        listed, contracted, billed = meter.costs
        yield DetailLine(
            day=values["day"],
            labels=labels,
            meter=meter.name,
            quantity=meter.quantity,
            requests=figures["requests"] if meter is rest else 0,
            calls=figures["calls"] if meter is rest else 0,
            rows=meter.rows,
            per=meter.per,
            unit_price_usd=meter.unit_price,
            list_cost_usd=listed,
            contracted_cost_usd=contracted,
            billed_cost_usd=billed,
            saved_usd=figures["saved_usd"] if meter is rest else NOTHING,
            tags=values["tags"],
            own_list_usd=meter.own_list_usd,
            charge_requests=figures["requests"] if meter is first else 0,
            charge_saved_usd=figures["saved_usd"] if meter is first else NOTHING,
        )


def _place(line: DetailLine) -> tuple[object, ...]:
    return (
        line.day, *(line.labels[label] for label in SORTED_FIRST), line.meter, line.unit_price_usd or 0, line.per,
        *(line.labels[label] for label in SORTED_LAST), sorted(line.tags.items()),
    )  # fmt: skip


def dearest_first(group: Group) -> tuple[Any, ...]:
    return -group.measures.billed_cost_usd, -group.measures.saved_usd, group.labels


def waterfall(totals: Measures, saved: Mapping[str, Decimal]) -> tuple[WaterfallStep, ...]:
    """From the price without us down to what is paid. A saving that no step explains is `other_savings`."""
    rest = totals.saved_usd - sum(saved.values(), start=NOTHING)
    steps = [WaterfallStep(name, saved[name]) for name in (*SAVING_STEPS, FURTHER_CALLS)]
    if rest:
        steps.append(WaterfallStep("other_savings", rest))
    steps += [WaterfallStep(name, -getattr(totals, f"{name}_usd")) for name in ENTRIES]
    return (
        WaterfallStep("list_price", totals.list_cost_usd),
        *steps,
        WaterfallStep("paid", totals.billed_cost_usd),
    )


@contextmanager
def one_snapshot() -> Iterator[None]:
    """All queries of a report see one state of the ledger, while calls go on being settled."""
    if connection.in_atomic_block:  # the caller's transaction decides; it may have read already
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
