"""What each cost centre of the tenant bears of a month, with its files.

Invariant: only months of the visitor's tenant; those of a closed one are as they were kept.
"""

from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.html import format_html, format_html_join

from billing.models import BillingPeriod
from billing.months.chargeback_sheets import FORMATS, NoSuchChargeback, file_of, of_month
from billing.months.chargebacks import Chargeback
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from tenants.people.rights import Right

MOST_ROWS: Final = 200


@page(Right.SEE, is_report=True)
def show_chargebacks(request: HttpRequest, visitor: Visitor, label: str) -> HttpResponse:
    """`/portal/t/<slug>/months/2026-11/chargebacks/`; with `format`, and for a PDF `cost_center`, a file."""
    periods = BillingPeriod.objects.filter(tenant=visitor.tenant).select_related("tenant")
    period = get_object_or_404(periods, label=label)
    if format_name := request.GET.get("format"):
        return _file(period, format_name, request.GET.get("cost_center"))
    made = of_month(period)
    dearest = sorted(made.items, key=lambda item: (-item.exact_usd, item.cost_center))
    own = address(visitor, "chargebacks", label=label)
    context = {
        "made": made,
        "files": [{"name": name.upper(), "url": f"{own}?format={name}"} for name in ("csv", "json")],
        "table": {
            "headers": [
                "Cost centre", "Own, USD", "Shared cost, USD", "Borne, USD", f"Owed, {made.currency}", "Files",
            ],
            "rows": [_row(own, item) for item in dearest[:MOST_ROWS]],
            "empty": "Nothing was booked in this month.",
            "more": "The dearest ones; all are in the files." if len(dearest) > MOST_ROWS else "",
        },
    }  # fmt: skip
    return show(request, visitor, "chargebacks.html", context, title=f"Chargebacks of {label}")


def _file(period: BillingPeriod, format_name: str, cost_center: str | None) -> HttpResponse:
    if format_name not in FORMATS:
        raise Http404
    try:
        name, content = file_of(period, format_name=format_name, cost_center=cost_center)
    except NoSuchChargeback as error:
        raise Http404(str(error)) from error
    response = HttpResponse(content, content_type=FORMATS[format_name])
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _row(own: str, item: Chargeback) -> list[Any]:
    ways = [
        (f"{own}?{urlencode({'format': name, 'cost_center': item.cost_center})}", name.upper())
        for name in FORMATS
    ]
    return [
        item.cost_center or "no cost centre",
        item.own_usd,
        item.exact_usd - item.own_usd,
        item.exact_usd,
        item.owed,
        format_html("<span>{}</span>", format_html_join(" · ", '<a href="{}">{}</a>', ways)),
    ]
