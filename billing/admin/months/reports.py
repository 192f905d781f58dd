"""The page where finance reads a month and has it made into files.

Invariant: the page reads the sums by day and the files the ledger (as the command does); both balance or do not appear. A person
gets only the months of tenants that they may see.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.timezone import now

from billing.admin.figures import count, percent, plain, sure_table, usd
from billing.admin.months import files as month_files
from billing.models import BillingPeriod
from billing.months.amounts import round_to_currency
from billing.months.cuts import Unbalanced
from billing.months.overview import MonthOverview, TopGroups, month_overview
from billing.months.parts import Group
from billing.months.report import InvalidMonth
from config.site import cells
from config.site.cells import NOTHING
from tenants.admin.access import may_everywhere, tenants_of
from tenants.models import Tenant
from tenants.people.rights import Right

Link = Callable[[str, str], str]  # of a column and one of its values; empty where nothing is to be seen
TENANTS_SHOWN = 500
MONTHS_SHOWN = 36
HEADERS = (
    *("Requests", "Cached", "Tokens in", "Tokens out", "List, USD", "Saved, USD", "Billed, USD"),
    "Not exact, USD",
)
LABELS = {
    "missing_tags": "Missing tags",
    "user_id": "User",
    "key_id": "API key",
    "cost_center": "Cost centre",
    "day": "Day, UTC",
}
LINKED = ("user_id", "model", "feature", "cost_center")  # the ledger's list has a filter for them


def reports_page(request: HttpRequest, model_admin: Any) -> HttpResponseBase:
    """Show a tenant's month, and its files; asked by POST, have files made."""
    tenants = tenants_of(request)
    asked = request.POST if request.method == "POST" else request.GET
    slug = asked.get("tenant", "")
    if slug == month_files.ALL_TENANTS:
        return _everybodys(request, asked.get("month") or f"{now():%Y-%m}")
    tenant = get_object_or_404(tenants, slug=slug) if slug else tenants.order_by("slug").first()
    if tenant is None:
        return _page(request, {"tenant": None})
    running = this_month(tenant)
    month = asked.get("month") or running
    if request.method == "POST":
        return month_files.asked(request, tenant, month)
    choices = {"tenant": tenant, "month": month, "tenants": tenants.order_by("slug")[:TENANTS_SHOWN]}
    choices["months"] = sorted({running, month, *_labels(tenant)}, reverse=True)
    try:
        overview = month_overview(tenant, month=month)
    except InvalidMonth as error:
        raise Http404(str(error)) from error
    except Unbalanced as error:
        return _page(request, {**choices, "problem": str(error)}, status=500)
    choices["files"] = month_files.panel(request, tenant, month)
    return _page(request, {**choices, **tables_of(overview, link=_ledger_link(tenant, overview))})


def _everybodys(request: HttpRequest, month: str) -> HttpResponseBase:
    """The files of all tenants together."""
    month_files.require_everywhere(request)
    if request.method == "POST":
        return month_files.asked(request, None, month)
    labels = (
        BillingPeriod.objects.order_by("-label").values_list("label", flat=True).distinct()[:MONTHS_SHOWN]
    )
    context = {
        "tenant": {"slug": month_files.ALL_TENANTS, "pk": 0, "name": "All tenants"},
        "month": month,
        "tenants": tenants_of(request).order_by("slug")[:TENANTS_SHOWN],
        "months": sorted({month, *labels}, reverse=True),
        "files": month_files.panel(request, None, month),
    }
    return _page(request, context)


def this_month(tenant: Tenant) -> str:
    """Return the month that runs now: the period's, else the one where the tenant is."""
    moment = now()
    running = BillingPeriod.objects.filter(tenant=tenant, starts_at__lte=moment, ends_at__gt=moment).first()
    return running.label if running else moment.astimezone(ZoneInfo(tenant.timezone)).strftime("%Y-%m")


def _labels(tenant: Tenant) -> Any:
    return (
        BillingPeriod.objects.filter(tenant=tenant)
        .order_by("-label")
        .values_list("label", flat=True)[:MONTHS_SHOWN]
    )


def _page(request: HttpRequest, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "Month reports",
        "formats": month_files.choices(),
        "may_see_all": may_everywhere(request, Right.CLOSE),
        **context,
    }
    return TemplateResponse(request, "admin/reports.html", context, status=status)


def tables_of(overview: MonthOverview, *, link: Link | None = None) -> dict[str, Any]:
    """A month as a page shows it; `link` leads from a value of a column to its rows."""
    totals = overview.totals
    unsure = totals.estimated_usd + totals.unread_usd
    return {
        "overview": overview,
        "cards": [
            {
                "title": "Billed",
                "value": usd(totals.billed_cost_usd),
                "note": f"{plain(totals.billed_cost_usd)} USD exactly{_in_currency(overview)}",
            },
            {"title": "Without us", "value": usd(totals.list_cost_usd), "note": "at list price"},
            {
                "title": "Saved",
                "value": usd(totals.saved_usd),
                "note": f"{percent(totals.saved_usd, totals.list_cost_usd)} of list price",
            },
            {
                "title": "Requests",
                "value": count(totals.requests),
                "note": f"{count(totals.cache_hits)} from the cache; {count(totals.calls)} calls to providers",
            },
            {
                "title": "Not exact",
                "value": usd(unsure),
                "note": f"the whole is {usd(totals.least_usd)} to {usd(totals.most_usd)}",
            },
            {
                "title": "Unallocated",
                "value": usd(totals.unallocated_usd),
                "note": f"{percent(totals.unallocated_usd, totals.billed_cost_usd)} of what is billed;"
                f" {count(totals.unallocated_requests)} requests lack a required tag",
            },
        ],
        "facts": [
            {"title": "From list price to what is paid", "table": _waterfall(overview)},
            {"title": "How sure it is", "table": sure_table(overview.certainty)},
            {"title": "By time and by statement", "table": _reconciliation(overview)},
        ],
        "sections": [
            {"title": section.title, "table": _table(section, link=link)} for section in overview.sections
        ],
    }


def _waterfall(overview: MonthOverview) -> dict[str, Any]:
    """The steps that say anything; the first and the last always."""
    first, *steps, last = overview.waterfall
    rows = [[_title(step.name), -step.amount_usd] for step in steps if step.amount_usd]
    return {
        "headers": ["Step", "USD"],
        "rows": [[_title(first.name), first.amount_usd], *rows, [_title(last.name), last.amount_usd]],
    }


def _reconciliation(overview: MonthOverview) -> dict[str, Any]:
    """From what happened in the month to what its statement asks for."""
    by, invoice = overview.reconciliation, overview.invoice
    rows = [
        ["Happened in the month (/v1/usage, basis=time)", by.by_time_usd],
        ["Booked in a later month", -by.booked_later_usd],
        ["Booked here of other months", by.of_earlier_months_usd],
        ["Booked in the month (basis=statement)", by.booked_usd],
    ]
    if invoice is not None:
        exact = by.booked_usd * invoice.fx_rate
        if invoice.currency != "USD":
            of_day = f"{invoice.fx_day} ({invoice.fx_source})"
            rows.append([f"The same in {invoice.currency}, at {plain(invoice.fx_rate)} of {of_day}", exact])
        rows += [
            ["Rounding to what is owed", invoice.total - exact],
            [f"Payable on {invoice.code}, {invoice.currency}", invoice.total],
        ]
        if invoice.set_off:
            rows += [["Paid ahead (prepaid balance)", -invoice.set_off], ["Due, with tax", invoice.due]]
    if (rate := overview.rate) is not None:
        amount = by.booked_usd * rate.rate
        rows.append(
            [f"The same in {rate.currency}, at {plain(rate.rate)} of {rate.day} ({rate.source})", amount]
        )
    return {"headers": ["", "USD"], "rows": rows}


def _in_currency(overview: MonthOverview) -> str:
    """What an open month makes in the currency in which it will be asked for."""
    if (rate := overview.rate) is None:
        return ""
    amount = round_to_currency(overview.totals.billed_cost_usd * rate.rate, rate.currency)
    return f"; {amount:,f} {rate.currency} at the rate of {rate.day}"


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _table(section: TopGroups, *, link: Link | None) -> dict[str, Any]:
    shown = [
        [
            *_labels_of(section, group, link=link),
            group.measures.requests,
            group.measures.cache_hits,
            group.measures.input_tokens
            + group.measures.cache_read_tokens
            + group.measures.cache_write_tokens,
            group.measures.output_tokens,
            group.measures.list_cost_usd,
            group.measures.saved_usd,
            group.measures.billed_cost_usd,
            group.measures.estimated_usd + group.measures.unread_usd,
        ]
        for group in section.groups
    ]
    hidden = section.group_count - len(shown)
    names = [LABELS.get(name) or _title(name) for name in section.columns]
    return {
        "headers": [*names, *HEADERS],
        "rows": shown,
        "more": f"And {hidden:,} more, in the files." if hidden > 0 else "",
    }


def _labels_of(section: TopGroups, group: Group, *, link: Link | None) -> list[Any]:
    """The labels of a group, the last one as a link where there is one."""
    labels: list[Any] = [section.names.get(label) or label or NOTHING for label in group.labels]
    if link is not None and (url := link(section.columns[-1], group.labels[-1])):
        labels[-1] = cells.link(url, labels[-1])
    return labels


def _ledger_link(tenant: Tenant, overview: MonthOverview) -> Link:
    """Links to rows of the ledger, if these can be filtered by the column."""

    def link(column: str, value: str) -> str:
        if column not in LINKED or not value:
            return ""
        query = {
            "tenant__id__exact": tenant.pk,
            f"{column}__icontains": value,
            "occurred_at_from_0": f"{overview.starts_at:%Y-%m-%d}",
            "occurred_at_from_1": f"{overview.starts_at:%H:%M:%S}",
            "occurred_at_to_0": f"{overview.ends_at:%Y-%m-%d}",
            "occurred_at_to_1": f"{overview.ends_at:%H:%M:%S}",
        }
        return f"{reverse('admin:billing_usagerecord_changelist')}?{urlencode(query)}"

    return link
