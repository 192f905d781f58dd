"""The months of a tenant: their state, what each cost, its statement, and the files of its report.

Invariant: a closed month shows its statement's amount; an open one shows no total, because it is not over.
"""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from billing.models import BillingPeriod, Statement
from billing.months.exports import FORMATS
from config.site import cells
from config.tenant_page.parts import Link, Section, TabContent, list_url, paged, row_link, when
from tenants.models import Tenant


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """The periods, newest first."""
    periods, ways = paged(request, BillingPeriod.objects.filter(tenant=tenant).order_by("-starts_at"))
    statements = {one.period_id: one for one in Statement.objects.filter(tenant=tenant, period__in=periods)}
    return TabContent(
        sections=[
            Section(
                "Months",
                {
                    "headers": ["Month", "State", "From", "Until", "Statement", "Total", "Report"],
                    "rows": [_row(tenant, period, statements.get(period.pk)) for period in periods],
                    "empty": "No month yet: it begins with the first call.",
                },
                [
                    Link("Statements", list_url("billing_statement", tenant__id__exact=tenant.pk)),
                    Link(
                        "Credits and adjustments",
                        list_url("billing_entryproposal", tenant__id__exact=tenant.pk),
                    ),
                    Link("Prepaid balance", list_url("billing_prepaidbalance", tenant__id__exact=tenant.pk)),
                    Link("Minimum commitments", list_url("billing_commitment", tenant__id__exact=tenant.pk)),
                    Link("Rate rules", list_url("billing_raterule", tenant__id__exact=tenant.pk)),
                    Link("Split rules", list_url("billing_splitrule", tenant__id__exact=tenant.pk)),
                    Link("Ledger", list_url("billing_usagerecord", tenant__id__exact=tenant.pk)),
                ],
                note=f"Months begin and end in {tenant.timezone}; a closed one keeps the zone it had.",
            )
        ],
        **ways,
    )


def _row(tenant: Tenant, period: BillingPeriod, statement: Statement | None) -> list[Any]:
    return [
        row_link("billing_billingperiod", period.pk, period.label),
        period.status,
        when(period.starts_at, tenant),
        when(period.ends_at, tenant),
        row_link("billing_statement", statement.pk, statement.code) if statement else cells.NOTHING,
        f"{statement.total:,.2f} {statement.currency}" if statement else cells.NOTHING,
        _files(tenant, period),
    ]


def _files(tenant: Tenant, period: BillingPeriod) -> SafeString:
    url = f"{reverse('admin:billing_reports')}?tenant={tenant.slug}&month={period.label}"
    sheets = f"{reverse('admin:billing_chargebacks')}?tenant={tenant.slug}&month={period.label}"
    ways = [
        (url, "Open"),
        (sheets, "Chargebacks"),
        *((f"{url}&format={name}", name.upper()) for name in FORMATS),
    ]
    return format_html_join(" · ", '<a class="text-link" href="{}">{}</a>', ways)
