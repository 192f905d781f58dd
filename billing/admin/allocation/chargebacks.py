"""The page of a month's chargebacks: what each cost centre bears, with its files.

Invariant: reads only. Those of a closed month are as they were kept; those of an open one are as they are by now.
"""

from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from billing.models import BillingPeriod
from billing.months.chargeback_sheets import FORMATS, NoSuchChargeback, file_of, of_month
from billing.months.chargebacks import Chargeback, Chargebacks
from billing.months.report import one_snapshot
from tenants.admin.access import tenants_of

CENTERS_SHOWN: Final = 200
NAMELESS: Final = "no cost centre"


def chargebacks_page(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show a tenant's month, or with `format` send a file of it, or with a cost centre too one of that."""
    tenant = get_object_or_404(tenants_of(request), slug=request.GET.get("tenant", ""))
    periods = BillingPeriod.objects.filter(tenant=tenant).select_related("tenant")
    period = get_object_or_404(periods, label=request.GET.get("month", ""))
    format_name = request.GET.get("format", "")
    if format_name:
        return _file(period, format_name, request.GET.get("cost_center"))
    with one_snapshot():
        made = of_month(period)
    shown = sorted(made.items, key=lambda item: (-item.exact_usd, item.cost_center))[:CENTERS_SHOWN]
    context = {
        **admin.site.each_context(request),
        "title": f"Chargebacks of {tenant.name}, {period.label}",
        "tenant": tenant,
        "period": period,
        "made": made,
        "table": {
            "headers": [
                "Cost centre",
                "Records",
                "Own, USD",
                "Shared cost, USD",
                "Borne, USD",
                f"Owed, {made.currency}",
                "Files",
            ],
            "rows": [_row(made, item) for item in shown],
            "empty": "Nothing was booked in this month.",
            "more": f"The dearest {CENTERS_SHOWN}; all are in the files."
            if len(made.items) > CENTERS_SHOWN
            else "",
        },
        "files": [{"name": name.upper(), "url": _url(made, format=name)} for name in ("csv", "json")],
    }
    return TemplateResponse(request, "admin/chargebacks.html", context)


def _file(period: BillingPeriod, format_name: str, cost_center: str | None) -> HttpResponse:
    if format_name not in FORMATS:
        raise Http404(f"no format is called {format_name!r}")
    try:
        with one_snapshot():
            name, content = file_of(period, format_name=format_name, cost_center=cost_center)
    except NoSuchChargeback as error:
        raise Http404(str(error)) from error
    response = HttpResponse(content, content_type=FORMATS[format_name])
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def _row(made: Chargebacks, item: Chargeback) -> list[Any]:
    ways = [(_url(made, format=name, cost_center=item.cost_center), name.upper()) for name in FORMATS]
    return [
        item.cost_center or NAMELESS,
        item.records,
        item.own_usd,
        item.exact_usd - item.own_usd,
        item.exact_usd,
        item.owed,
        format_html(
            "<span>{}</span>", format_html_join(" · ", '<a class="text-link" href="{}">{}</a>', ways)
        ),
    ]


def _url(made: Chargebacks, **query: str) -> str:
    return f"?{urlencode({'tenant': made.tenant_slug, 'month': made.month, **query})}"
