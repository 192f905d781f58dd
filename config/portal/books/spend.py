"""What the tenant spent: by day, and by model, feature, user and key; for owners and finance.

Invariant: metered prices only. Days' sums are read, never the ledger; a page and a file have a bounded number of rows.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import F, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now

from billing.admin.figures import usd
from billing.models import UsageDaily, UsageSum
from billing.months.exports.cells import cell
from billing.planning.forecasts import forecast_tenants
from config.portal.access import Visitor, page
from config.portal.charts import columns
from config.portal.layout import show
from tenants.models import ApiKey
from tenants.people.rights import Right

Dimension = UsageSum.Dimension
SPANS: Final = {"month": "this month", "last": "last month", "7": "7 days", "30": "30 days", "90": "90 days"}
CUTS: Final = (
    (Dimension.MODEL, "Models", "Model"),
    (Dimension.USER, "Users", "User"),
    (Dimension.FEATURE, "Features", "Feature"),
    (Dimension.KEY, "Keys", "Key"),
)
MOST_ROWS: Final = 15
MOST_IN_FILE: Final = 100_000
# only the cheap columns, and no price that the provider is paid
IN_FILE: Final = (
    "day", "user_id", "key_id", "feature", "project", "cost_center", "endpoint", "model", "tier", "processing", "cache_state",
    "requests", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "list_cost", "billed_cost",
)  # fmt: skip


@page(Right.SEE)
def show_spend(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/spend/?span=30`."""
    chosen = _chosen(request)
    first, last = days_of(chosen)
    sums = UsageSum.objects.filter(tenant=visitor.tenant, day__gte=first, day__lte=last)
    total = sums.filter(dimension=Dimension.TOTAL).order_by().values("day").annotate(cost=Sum("billed_cost"))
    by_day = {row["day"]: row["cost"] for row in total}
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    context = {
        "spans": SPANS.items(),
        "span": chosen,
        "cards": _cards(visitor, sums.filter(dimension=Dimension.TOTAL)),
        "days": columns([(day, by_day.get(day, Decimal(0))) for day in every], label="USD by day (UTC)"),
        "cuts": [
            (title, _cut(visitor, sums.filter(dimension=dimension), dimension, head))
            for dimension, title, head in CUTS
        ],
    }
    return show(request, visitor, "spend.html", context, title="Spend")


@page(Right.SEE)
def spend_file(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The days' sums as CSV: every combination of a day, for a spreadsheet of one's own."""
    first, last = days_of(_chosen(request))
    rows = UsageDaily.objects.filter(tenant=visitor.tenant, day__gte=first, day__lte=last).order_by(
        "day", "pk"
    )
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{visitor.tenant.slug}-{first}-{last}.csv"'
    writer = csv.writer(response)
    writer.writerow(IN_FILE)
    writer.writerows(_lines(rows))
    return response


def days_of(span: str) -> tuple[date, date]:
    """The first and the last day (UTC) of a span."""
    today = now().astimezone(UTC).date()
    if span == "month":
        return today.replace(day=1), today
    if span == "last":
        end = today.replace(day=1) - timedelta(days=1)
        return end.replace(day=1), end
    return today - timedelta(days=int(span) - 1), today


def _chosen(request: HttpRequest) -> str:
    span = request.GET.get("span", "")
    return span if span in SPANS else "month"


def _cards(visitor: Visitor, days: QuerySet[UsageSum]) -> list[dict[str, str]]:
    row = days.aggregate(
        cost=Sum("billed_cost"),
        listed=Sum("list_cost"),
        adjusted=Sum("adjusted_cost"),
        calls=Sum("requests"),
        hits=Sum("hits"),
    )
    cost, calls, hits = row["cost"] or Decimal(0), row["calls"] or 0, row["hits"] or 0
    saved = (row["listed"] or Decimal(0)) + (row["adjusted"] or Decimal(0)) - cost
    forecast = forecast_tenants([visitor.tenant.pk])[visitor.tenant.pk]
    return [
        {"title": "Spent", "value": usd(cost), "note": f"{calls:,} requests"},
        {"title": "Saved", "value": usd(saved), "note": "against list prices"},
        {
            "title": "From the cache",
            "value": f"{100 * hits / calls:.1f} %" if calls else "–",
            "note": f"{hits:,} requests",
        },
        {
            "title": "This month, at its end",
            "value": usd(forecast.middle) if forecast.is_known else "–",
            "note": f"{usd(forecast.low)} to {usd(forecast.high)}; {forecast.note}"
            if forecast.is_known
            else forecast.note,
        },
    ]


def _cut(visitor: Visitor, sums: QuerySet[UsageSum], dimension: str, head: str) -> dict[str, Any]:
    found = list(
        sums.order_by()
        .values("value", "is_rest")
        .annotate(
            cost=Sum("billed_cost"),
            calls=Sum("requests"),
            saved=Sum(F("list_cost") + F("adjusted_cost") - F("billed_cost")),
        )
        .order_by("-cost", "value")[: MOST_ROWS + 1]
    )
    names = _key_names(visitor, [row["value"] for row in found]) if dimension == Dimension.KEY else {}
    rows = [
        [
            "all others" if row["is_rest"] else names.get(row["value"], row["value"]) or "none named",
            row["calls"],
            row["saved"],
            row["cost"],
        ]
        for row in found[:MOST_ROWS]
    ]
    more = f"The {MOST_ROWS} largest; all are in the file." if len(found) > MOST_ROWS else ""
    return {
        "headers": [head, "Requests", "Saved, USD", "Spent, USD"],
        "rows": rows,
        "more": more,
        "empty": "Nothing yet.",
    }


def _key_names(visitor: Visitor, ids: list[str]) -> dict[str, str]:
    known = ApiKey.objects.filter(tenant=visitor.tenant, pk__in=[int(one) for one in ids if one.isdecimal()])
    return {str(pk): name for pk, name in known.values_list("pk", "name")}


def _lines(rows: QuerySet[UsageDaily]) -> Iterator[list[Any]]:
    for row in rows.values_list(*IN_FILE)[:MOST_IN_FILE].iterator():
        yield [cell(value) for value in row]
