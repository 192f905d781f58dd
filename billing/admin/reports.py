"""The page where finance reads a month and downloads it as a file.

Invariant: page and files come from `month_report`, the same function as the command's, so they balance or
do not appear; and a person gets only the months of tenants that they may see.
"""

import io
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.timezone import now

from billing.admin.figures import count, usd
from billing.models import BillingPeriod
from billing.months.exports import FORMATS, export, file_name
from billing.months.report import InvalidMonth, MonthReport, Section, UnbalancedReport, month_report
from tenants.admin.access import tenants_of
from tenants.models import Tenant

ROWS_SHOWN = 25
TENANTS_SHOWN = 500


def reports_page(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show a tenant's month, or with `format` send it as a file."""
    tenants = tenants_of(request)
    slug = request.GET.get("tenant", "")
    tenant = get_object_or_404(tenants, slug=slug) if slug else tenants.order_by("slug").first()
    if tenant is None:
        return _page(request, {"tenant": None})
    running = this_month(tenant)
    month = request.GET.get("month") or running
    choices = {"tenant": tenant, "month": month, "tenants": tenants.order_by("slug")[:TENANTS_SHOWN]}
    choices["months"] = sorted({running, month, *_labels(tenant)}, reverse=True)
    try:
        report = month_report(tenant, month=month)
    except InvalidMonth as error:
        raise Http404(str(error)) from error
    except UnbalancedReport as error:
        return _page(request, {**choices, "problem": str(error)}, status=500)
    format_name = request.GET.get("format", "")
    if format_name:
        if format_name not in FORMATS:
            raise Http404(f"no format is called {format_name!r}")
        return download(report, format_name)
    return _page(request, {**choices, **_tables(report)})


def download(report: MonthReport, format_name: str) -> HttpResponse:
    """Answer with the report as a file."""
    buffer = io.BytesIO()
    export(report, format_name, buffer)
    response = HttpResponse(buffer.getvalue(), content_type=FORMATS[format_name].content_type)
    response["Content-Disposition"] = f'attachment; filename="{file_name(report, format_name)}"'
    response["Cache-Control"] = "no-store"
    return response


def this_month(tenant: Tenant) -> str:
    """Return the month that runs now: the period's, else the one where the tenant is."""
    moment = now()
    running = BillingPeriod.objects.filter(tenant=tenant, starts_at__lte=moment, ends_at__gt=moment).first()
    return running.label if running else moment.astimezone(ZoneInfo(tenant.timezone)).strftime("%Y-%m")


def _labels(tenant: Tenant) -> Any:
    return BillingPeriod.objects.filter(tenant=tenant).order_by("-label").values_list("label", flat=True)[:36]


def _page(request: HttpRequest, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    formats = [{"name": name, "label": kind.label} for name, kind in FORMATS.items()]
    context = {**admin.site.each_context(request), "title": "Month reports", "formats": formats, **context}
    return TemplateResponse(request, "admin/reports.html", context, status=status)


def _tables(report: MonthReport) -> dict[str, Any]:
    totals = report.totals
    return {
        "report": report,
        "cards": [
            {
                "title": "Billed",
                "value": usd(totals.billed_cost_usd),
                "note": f"{totals.billed_cost_usd:f} USD exactly",
            },
            {"title": "Without us", "value": usd(totals.list_cost_usd), "note": "at list price"},
            {
                "title": "Saved",
                "value": usd(totals.saved_usd),
                "note": f"{count(totals.saved_tokens)} tokens not bought",
            },
            {
                "title": "Calls",
                "value": count(totals.calls),
                "note": f"{count(totals.cache_hits)} from the cache",
            },
        ],
        "waterfall": {
            "headers": ["Step", "USD"],
            "rows": [
                [step.name.replace("_", " ").capitalize(), _signed(step.name, step.amount_usd)]
                for step in report.waterfall
            ],
        },
        "sections": [{"title": section.title, "table": _table(section)} for section in report.sections],
    }


def _signed(name: str, amount: Any) -> Any:
    return amount if name in ("list_price", "paid") else -amount


def _table(section: Section) -> dict[str, Any]:
    shown = [
        [
            *[label or "–" for label in group.labels],
            group.measures.calls,
            group.measures.cache_hits,
            group.measures.input_tokens
            + group.measures.cache_read_tokens
            + group.measures.cache_write_tokens,
            group.measures.output_tokens,
            group.measures.list_cost_usd,
            group.measures.saved_usd,
            group.measures.billed_cost_usd,
        ]
        for group in section.groups[:ROWS_SHOWN]
    ]
    hidden = len(section.groups) - len(shown)
    labels = [name.replace("_", " ") for name in section.dimensions]
    return {
        "headers": [
            *labels,
            "Calls",
            "Cached",
            "Tokens in",
            "Tokens out",
            "List, USD",
            "Saved, USD",
            "Billed, USD",
        ],
        "rows": shown,
        "more": f"And {hidden:,} more, in the files." if hidden > 0 else "",
    }
