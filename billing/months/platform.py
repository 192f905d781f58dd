"""The month of all tenants together, and what is left of it when the providers are paid.

Invariant: a sum of the tenants' own reports, each of which balances, in one state of the ledger. It says nothing that they do not
say but the margin, which no tenant sees. Users, keys and names of different tenants are never added together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from django.utils.timezone import now

from billing.models import BillingPeriod
from billing.months.cuts import CERTAINTIES, read_rows, require_equal
from billing.months.parts import (
    NOTHING,
    Group,
    Margin,
    Measures,
    MonthReport,
    Reconciliation,
    Section,
    Sure,
    WaterfallStep,
)
from billing.months.report import dearest_first, month_bounds, month_report, one_snapshot

SLUG, NAME = "platform", "All tenants"
_EVERYBODYS = ("models", "days")  # their labels mean the same for every tenant
_LEFT_OUT = ("tags",)  # a whole along each tag, which only one tenant's month has
MARGINS = """
SELECT t.slug AS tenant, r.provider, r.model, sum(r.billed_cost) AS billed_usd, sum(r.provider_cost) AS provider_cost_usd,
       sum(r.billed_cost - r.provider_cost) AS margin_usd
FROM billing_usagerecord AS r JOIN tenants_tenant AS t ON t.id = r.tenant_id
WHERE r.tenant_id = ANY(%(tenants)s) AND r.period_id = ANY(%(periods)s)
GROUP BY t.slug, r.provider, r.model ORDER BY t.slug, r.provider, r.model
"""


def platform_report(month: str) -> MonthReport:
    """Build the month of all tenants that have one of this name, each in its own time zone.

    Raises InvalidMonth, or UnbalancedReport. Holds the reports of all tenants in memory.
    """
    starts_at, ends_at = month_bounds(month, "UTC")
    with one_snapshot():
        periods = list(
            BillingPeriod.objects.filter(label=month).select_related("tenant").order_by("tenant__slug")
        )
        reports = [month_report(period.tenant, month=month) for period in periods]
        arguments = {
            "tenants": [period.tenant_id for period in periods],
            "periods": [period.pk for period in periods],
        }
        margins = tuple(Margin(**row) for row in read_rows(MARGINS, arguments))
    totals = _sum([report.totals for report in reports])
    require_equal("margins", sum((one.billed_usd for one in margins), start=NOTHING), totals.billed_cost_usd)
    return MonthReport(
        tenant_slug=SLUG,
        tenant_name=NAME,
        month=month,
        timezone="UTC",
        starts_at=min((report.starts_at for report in reports), default=starts_at),
        ends_at=max((report.ends_at for report in reports), default=ends_at),
        period_status="closed"
        if reports and all(report.period_status == "closed" for report in reports)
        else "open",
        made_at=now(),
        totals=totals,
        certainty=_certainty(reports),
        waterfall=_waterfall(reports, totals),
        reconciliation=_added(Reconciliation, [report.reconciliation for report in reports]),
        sections=(_tenants(reports), *_sections(reports)),
        detail=tuple(
            replace(line, tenant=report.tenant_slug) for report in reports for line in report.detail
        ),
        margins=margins,
        tenants=tuple(reports),
    )


def _tenants(reports: Sequence[MonthReport]) -> Section:
    groups = (Group((report.tenant_slug, report.tenant_name), report.totals) for report in reports)
    return Section("tenants", "By tenant", ("tenant", "name"), tuple(sorted(groups, key=dearest_first)))


def _sections(reports: Sequence[MonthReport]) -> Iterator[Section]:
    """The tenants' sections together; what only means something within a tenant stands beside its name."""
    for section in reports[0].sections if reports else ():
        if section.name in _LEFT_OUT:
            continue
        is_everybodys = section.name in _EVERYBODYS
        groups: dict[tuple[str, ...], list[Measures]] = {}
        for report in reports:
            for group in next(one for one in report.sections if one.name == section.name).groups:
                labels = group.labels if is_everybodys else (report.tenant_slug, *group.labels)
                groups.setdefault(labels, []).append(group.measures)
        summed = [Group(labels, _sum(measures)) for labels, measures in groups.items()]
        yield Section(
            section.name,
            section.title,
            section.dimensions if is_everybodys else ("tenant", *section.dimensions),
            tuple(
                sorted(summed, key=(lambda group: group.labels) if section.name == "days" else dearest_first)
            ),
        )


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
