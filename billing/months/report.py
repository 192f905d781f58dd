"""The month of one tenant, built from the ledger: what finance closes on.

Invariant: every section, the detail and the savings waterfall add up to the ledger to the last digit; a
report that does not is never returned, `UnbalancedReport` is raised instead.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Sum
from django.utils.timezone import now

from billing.ledger.measures import ENTRIES
from billing.models import BillingPeriod, Statement
from billing.months import detail, sections
from billing.months import reading as month_reading
from billing.months.chargeback_sheets import shared_cost
from billing.months.cuts import COSTS, Unbalanced, Whole, copied_rows, read_rows, read_whole, require_equal
from billing.months.invoicing import rate_of_now, stored_terms
from billing.months.parts import (
    NOTHING,
    DetailLine,
    Invoice,
    Measures,
    MonthReport,
    Reconciliation,
    Section,
    Streamed,
    WaterfallStep,
)
from billing.months.reconciling import PROVE
from billing.prices.savings import FURTHER_CALLS
from billing.prices.savings import STEPS as SAVING_STEPS
from tenants.models import Tenant

TABLES = (*detail.TABLES, sections.TABLE)


class InvalidMonth(ValueError):
    """The month is not written as YYYY-MM."""


class UnbalancedReport(Unbalanced):
    """A part of the report does not add up to the ledger."""


def month_report(tenant: Tenant, *, month: str) -> MonthReport:
    """The same as `opened_month`, with every group and line in memory: for months that are known to be small."""
    with opened_month(tenant, month=month) as report:
        return loaded(report)


@contextmanager
def opened_month(tenant: Tenant, *, month: str, made_at: datetime | None = None) -> Iterator[MonthReport]:
    """The report of a month ("2026-11", in the time zone of its period) from the ledger, while the block runs.

    Raises InvalidMonth, or UnbalancedReport when any part does not add up to the ledger. PostgreSQL sums the ledger and keeps
    the groups and lines, which are read from it whenever they are gone through: memory does not grow with the month.
    """
    starts_at, ends_at = month_bounds(month, tenant.timezone)
    with one_snapshot():
        month_reading.prepare()
        period = BillingPeriod.objects.select_related("tenant").filter(tenant=tenant, label=month).first()
        arguments = arguments_of(tenant, period, starts_at=starts_at, ends_at=ends_at)
        with copied_rows([arguments], tables=TABLES):
            detail.make_cuts()
            detail.make_lines()
            report = report_of(
                tenant,
                period,
                arguments | {"month": month},
                made_at=made_at or now(),
                sections=sections.make_sections(),
                lines=detail.read_lines().get(tenant.pk),
            )
            check_balance(report)
            yield replace(report, shared=shared_cost(period))


def loaded(report: MonthReport) -> MonthReport:
    """A report with all of its groups and lines in memory."""
    return replace(
        report,
        sections=tuple(replace(section, groups=tuple(section.groups)) for section in report.sections),
        detail=tuple(report.detail),
        tenants=tuple(map(loaded, report.tenants)),
    )


def arguments_of(
    tenant: Tenant, period: BillingPeriod | None, *, starts_at: datetime, ends_at: datetime
) -> dict[str, Any]:
    """What the queries of a month ask for; a month without a period has no rows."""
    return {
        "tenant": tenant.pk,
        "period": period.pk if period else 0,
        "periods": [period.pk] if period else [],
        "timezone": period.timezone if period else tenant.timezone,
        "starts_at": period.starts_at if period else starts_at,
        "ends_at": period.ends_at if period else ends_at,
    }


def report_of(
    tenant: Tenant,
    period: BillingPeriod | None,
    arguments: Mapping[str, Any],
    *,
    made_at: datetime,
    sections: tuple[Section, ...],
    lines: Collection[DetailLine] | None,
) -> MonthReport:
    """The report of one of the tenants whose rows are copied."""
    whole = read_whole(arguments)
    totals = measures_of(whole)
    proof = read_rows(PROVE, arguments)[0]
    return MonthReport(
        tenant_slug=tenant.slug,
        tenant_name=tenant.name,
        month=arguments["month"],
        timezone=arguments["timezone"],
        starts_at=arguments["starts_at"],
        ends_at=arguments["ends_at"],
        period_status=period.status if period else "open",
        made_at=made_at,
        totals=totals,
        certainty=whole.certainty,
        waterfall=waterfall(totals, whole.steps),
        reconciliation=Reconciliation(booked_usd=totals.billed_cost_usd, **proof),
        sections=sections,
        detail=detail.no_lines() if lines is None else lines,
        invoice=invoice_of(period),
        rate=None if period and period.status == BillingPeriod.Status.CLOSED else rate_of_now(tenant, period),
    )


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
            parts = _sum(section.groups, field.name, of="measures.")
            whole = getattr(totals, field.name) * section.wholes
            require_equal(f"{section.name}.{field.name}", parts, whole)
    for name in ("requests", "calls", *COSTS, "saved_usd"):
        require_equal(f"detail.{name}", _sum(report.detail, name), getattr(totals, name))
    for name, whole in (("requests", totals.requests), ("saved_usd", totals.saved_usd)):
        require_equal(f"detail.charge_{name}", _sum(report.detail, f"charge_{name}"), whole)
    for sure in report.certainty:
        require_equal(sure.certainty, sure.amount_usd, getattr(totals, f"{sure.certainty}_usd"))
    require_equal("certainty", sum(sure.amount_usd for sure in report.certainty), totals.billed_cost_usd)
    check_waterfall(report.waterfall, totals)
    by = report.reconciliation
    booked = by.by_time_usd - by.booked_later_usd + by.of_earlier_months_usd
    require_equal("reconciliation", booked, totals.billed_cost_usd)


def _sum(parts: Collection[Any], name: str, *, of: str = "") -> Any:
    """The sum of a figure over parts: PostgreSQL's, where they are read from it."""
    return parts.sums[name] if isinstance(parts, Streamed) else sum(map(attrgetter(of + name), parts))


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
        statement.fx_rate,
        statement.fx_day,
        statement.fx_source,
    )


def measures_of(whole: Whole) -> Measures:
    """The figures of a whole."""
    return Measures(**{field.name: whole.figures[field.name] for field in fields(Measures)})


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
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
