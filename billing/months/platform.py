"""The month of all tenants together, and what is left of it when the providers are paid.

Invariant: a sum of the tenants' own months, each of which balances, in one state of the ledger. It says nothing that they do not
say but the margin, which no tenant sees. Users, keys and names of different tenants are never added together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any

from django.utils.timezone import now

from billing.models import BillingPeriod
from billing.months import detail
from billing.months import reading as month_reading
from billing.months.cuts import CERTAINTIES, copied_rows, read_rows, require_equal
from billing.months.parts import (
    NOTHING,
    Margin,
    Measures,
    MonthReport,
    Reconciliation,
    Sure,
    WaterfallStep,
)
from billing.months.report import (
    TABLES,
    arguments_of,
    check_balance,
    loaded,
    month_bounds,
    one_snapshot,
    report_of,
)
from billing.months.sections import make_sections

SLUG, NAME = "platform", "All tenants"
MARGINS = """
SELECT t.slug AS tenant, r.provider, r.model, sum(r.billed_cost) AS billed_usd, sum(r.provider_cost) AS provider_cost_usd,
       sum(r.billed_cost - r.provider_cost) AS margin_usd
FROM billing_usagerecord AS r JOIN tenants_tenant AS t ON t.id = r.tenant_id
WHERE r.tenant_id = ANY(%(tenants)s) AND r.period_id = ANY(%(periods)s)
GROUP BY t.slug, r.provider, r.model ORDER BY t.slug, r.provider, r.model
"""


def platform_report(month: str) -> MonthReport:
    """The same as `opened_platform`, with every group and line in memory: for months that are known to be small."""
    with opened_platform(month) as report:
        return loaded(report)


@contextmanager
def opened_platform(month: str, *, made_at: datetime | None = None) -> Iterator[MonthReport]:
    """The month of all tenants that have one of this name, each in its own time zone, while the block runs.

    Raises InvalidMonth, or UnbalancedReport. Holds the totals of each tenant in memory, and its margins.
    """
    starts_at, ends_at = month_bounds(month, "UTC")
    made_at = made_at or now()
    with one_snapshot():
        month_reading.prepare()
        periods = list(
            BillingPeriod.objects.filter(label=month).select_related("tenant").order_by("tenant__slug")
        )
        months = [
            arguments_of(period.tenant, period, starts_at=starts_at, ends_at=ends_at) for period in periods
        ]
        with copied_rows(months, tables=TABLES):
            detail.make_cuts()
            detail.make_lines()
            lines = detail.read_lines()
            reports = [
                report_of(
                    period.tenant,
                    period,
                    arguments | {"month": month},
                    made_at=made_at,
                    sections=(),
                    lines=lines.get(period.tenant_id),
                )
                for period, arguments in zip(periods, months, strict=True)
            ]
            for report in reports:
                check_balance(report)
            arguments = {
                "tenants": [period.tenant_id for period in periods],
                "periods": [period.pk for period in periods],
            }
            margins = tuple(Margin(**row) for row in read_rows(MARGINS, arguments))
            totals = _sum([report.totals for report in reports])
            billed = sum((one.billed_usd for one in margins), start=NOTHING)
            require_equal("margins", billed, totals.billed_cost_usd)
            whole = MonthReport(
                tenant_slug=SLUG,
                tenant_name=NAME,
                month=month,
                timezone="UTC",
                starts_at=min((report.starts_at for report in reports), default=starts_at),
                ends_at=max((report.ends_at for report in reports), default=ends_at),
                period_status="closed"
                if reports and all(report.period_status == "closed" for report in reports)
                else "open",
                made_at=made_at,
                totals=totals,
                certainty=_certainty(reports),
                waterfall=_waterfall(reports, totals),
                reconciliation=_added(Reconciliation, [report.reconciliation for report in reports]),
                sections=make_sections(of_all_tenants=True),
                detail=lines[0],
                margins=margins,
                tenants=tuple(reports),
            )
            check_balance(whole)
            yield whole


def _certainty(reports: Sequence[MonthReport]) -> tuple[Sure, ...]:
    of = [{sure.certainty: sure for sure in report.certainty} for report in reports]
    return tuple(
        Sure(
            name,
            sum(one[name].records for one in of),
            *(
                sum((getattr(one[name], field) for one in of), start=NOTHING)
                for field in ("amount_usd", "least_usd", "most_usd")
            ),
        )
        for name in CERTAINTIES
    )


def _waterfall(reports: Sequence[MonthReport], totals: Measures) -> tuple[WaterfallStep, ...]:
    """The steps of all tenants, in their order."""
    steps: dict[str, Any] = {}
    for report in reports:
        for step in report.waterfall:
            steps[step.name] = steps.get(step.name, NOTHING) + step.amount_usd
    paid = steps.pop("paid", totals.billed_cost_usd)  # a step that only a later tenant has comes before it
    steps.setdefault("list_price", totals.list_cost_usd)
    return (*(WaterfallStep(name, amount) for name, amount in steps.items()), WaterfallStep("paid", paid))


def _sum(measures: Sequence[Measures]) -> Measures:
    added: Measures = _added(Measures, measures)
    return added


def _added(kind: Any, values: Sequence[Any]) -> Any:
    """Values of one dataclass, added field by field."""
    names = [field.name for field in fields(kind)]
    zero = kind(**dict.fromkeys(names, NOTHING)) if not values else values[0]
    return kind(
        **{
            name: sum((getattr(value, name) for value in values[1:]), start=getattr(zero, name))
            for name in names
        }
    )
