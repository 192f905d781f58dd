"""The first page of the admin: what is spent and saved now, what is about to run out, what needs attention.

Invariant: a fixed number of queries, over the days' sums and never over the ledger, however much traffic; and
only tenants that this person may see. Figures are as old as the last rebuild of the sums, at most a minute.
"""

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Case, DecimalField, F, Q, QuerySet, Sum, Value, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from billing.admin.budget_state import used_percent, with_usage
from billing.admin.figures import amount_of, count, percent, usd, utc_today
from billing.models import AlertEvent, Budget, UsageDaily, UsageRecord
from config.site.cells import progress
from tenants.admin.access import tenants_of

DAYS_SHOWN = 30
ROWS_SHOWN = 6
CACHED = Q(usage_source=UsageRecord.Source.GATEWAY_CACHE)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard's figures to the index page's context."""
    tenants = tenants_of(request)
    today = utc_today().date()
    first_shown = min(today - timedelta(days=DAYS_SHOWN - 1), today.replace(day=1))
    days = UsageDaily.objects.filter(tenant__in=tenants, day__gte=first_shown).order_by()
    by_day = {row["day"]: row for row in figures_of(days.values("day"))}
    month = days.filter(day__gte=today.replace(day=1))
    return context | {
        "title": "Home",
        "has_tenants": tenants.exists(),
        "cards": _cards(by_day, today),
        "spend_chart": _spend_chart(by_day, today),
        "calls_chart": _calls_chart(by_day, today),
        "budgets_table": _budgets(tenants),
        "alerts_table": _alerts(tenants, is_operator=request.user.is_superuser),
        "tenants_table": _top(month, "tenant__slug", "Tenant"),
        "models_table": _top(month, "model", "Model"),
        "day_count": DAYS_SHOWN,
    }


def figures_of(days: Any) -> Any:
    """Calls, those of them that the cache answered, and money, of sums by day in groups."""
    return days.annotate(
        calls=Sum("requests", default=0),
        cached=Sum("requests", filter=CACHED, default=0),
        billed=Sum("billed_cost"),
        listed=Sum("list_cost"),
    )


def _cards(by_day: dict[date, dict[str, Any]], today: date) -> list[dict[str, Any]]:
    """The figures on top: `title`, `value` and `note` of each."""
    now_day = [row for day, row in by_day.items() if day == today]
    month = [row for day, row in by_day.items() if day >= today.replace(day=1)]
    saved, listed = _total(month, "listed") - _total(month, "billed"), _total(month, "listed")
    return [
        {
            "title": "Spent today",
            "value": usd(_total(now_day, "billed")),
            "note": f"{count(_total(now_day, 'calls'))} calls, UTC day",
        },
        {
            "title": "Spent this month",
            "value": usd(_total(month, "billed")),
            "note": f"{usd(listed)} at list price",
        },
        {"title": "Saved this month", "value": usd(saved), "note": f"{percent(saved, listed)} of list price"},
        {
            "title": "Calls this month",
            "value": count(_total(month, "calls")),
            "note": "answered, cache included; UTC days",
        },
        {
            "title": "Cache hit rate",
            "value": percent(_total(month, "cached"), _total(month, "calls")),
            "note": f"{count(_total(month, 'cached'))} of this month's calls",
        },
    ]


def _total(rows: list[dict[str, Any]], name: str) -> Any:
    return sum((row[name] for row in rows), start=Decimal(0) if name in ("billed", "listed") else 0)


def _spend_chart(by_day: dict[date, dict[str, Any]], today: date) -> dict[str, str]:
    days = _days(today)
    billed = [by_day[day]["billed"] if day in by_day else Decimal(0) for day in days]
    saved = [by_day[day]["listed"] - by_day[day]["billed"] if day in by_day else Decimal(0) for day in days]
    return _stacked(
        days,
        ("Paid", "var(--color-primary-500)", billed),
        ("Saved", "var(--color-primary-300)", saved),
        places=6,
    )


def _calls_chart(by_day: dict[date, dict[str, Any]], today: date) -> dict[str, str]:
    days = _days(today)
    cached = [by_day[day]["cached"] if day in by_day else 0 for day in days]
    sent = [by_day[day]["calls"] - by_day[day]["cached"] if day in by_day else 0 for day in days]
    return _stacked(
        days,
        ("To a provider", "var(--color-primary-500)", sent),
        ("From the cache", "var(--color-primary-300)", cached),
    )


def _stacked(days: list[date], *series: tuple[str, str, list[Any]], places: int = 0) -> dict[str, str]:
    """Chart data and options as JSON. A chart is drawn with floats; nothing is calculated with them."""
    data = {
        "labels": [f"{day:%d %b}" for day in days],
        "datasets": [
            {
                "label": label,
                "backgroundColor": colour,
                "data": [round(float(value), places) for value in values],
            }
            for label, colour, values in series
        ],
    }
    grey = "#9ca3af"
    options = {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "maxBarThickness": 14,
        "plugins": {
            "legend": {
                "display": True,
                "position": "top",
                "align": "end",
                "labels": {"color": grey, "boxWidth": 6, "boxHeight": 6, "usePointStyle": True},
            },
            "tooltip": {"mode": "index", "intersect": False},
        },
        "scales": {
            "x": {
                "stacked": True,
                "border": {"width": 0},
                "grid": {"display": False},
                "ticks": {"color": grey, "maxTicksLimit": 8, "maxRotation": 0},
            },
            "y": {
                "stacked": True,
                "beginAtZero": True,
                "border": {"width": 0},
                "grid": {"tickWidth": 0},
                "ticks": {"color": grey, "maxTicksLimit": 5},
            },
        },
    }
    return {"data": json.dumps(data), "options": json.dumps(options)}


def _days(today: date) -> list[date]:
    return [today - timedelta(days=back) for back in reversed(range(DAYS_SHOWN))]


def _budgets(tenants: QuerySet[Any]) -> dict[str, Any]:
    """The budgets that are nearest to their limit now, as a table (`headers`, `rows`), as those below are."""
    limit = F("limit_amount") + F("raised")
    share = Case(
        When(Q(limit_amount__gt=0) | Q(raised__gt=0), then=(F("top_spent") + F("top_held")) / limit),
        default=Value(Decimal(0)),
        output_field=DecimalField(max_digits=40, decimal_places=12),
    )
    budgets = with_usage(Budget.objects.filter(tenant__in=tenants, is_active=True).select_related("tenant"))
    rows = [
        [
            _link("billing_budget", budget.pk, f"{budget.tenant.slug}: {_whose(budget)}"),
            progress(used_percent(budget)),
            amount_of(budget.unit, budget.limit_amount + budget.raised - budget.top_spent - budget.top_held),
        ]
        for budget in budgets.annotate(share=share).filter(share__gt=0).order_by("-share")[:ROWS_SHOWN]
    ]
    return {"headers": ["Budget", "Used", "Left"], "rows": rows}


def _whose(budget: Any) -> str:
    subject = budget.top_subject or budget.value
    return (
        f"{budget.scope} {subject}, {budget.unit} per {budget.period}"
        if subject
        else (f"{budget.scope}, {budget.unit} per {budget.period}")
    )


def _alerts(tenants: QuerySet[Any], *, is_operator: bool) -> dict[str, Any]:
    shown = Q(tenant__in=tenants) | Q(tenant=None) if is_operator else Q(tenant__in=tenants)
    events = AlertEvent.objects.filter(shown).order_by(
        F("acknowledged_at").asc(nulls_first=True), "-fired_at"
    )
    rows = [
        [
            event.fired_at,
            _link("billing_alertevent", event.pk, Truncator(event.message).chars(80)),
            "acknowledged" if event.acknowledged_at else "open",
        ]
        for event in events[:ROWS_SHOWN]
    ]
    return {"headers": ["When", "Alert", "State"], "rows": rows}


def _top(month: QuerySet[UsageDaily], column: str, title: str) -> dict[str, Any]:
    rows = [
        [
            row[column] or "–",
            row["billed"],
            row["listed"] - row["billed"],
            row["calls"],
            percent(row["cached"], row["calls"]),
        ]
        for row in figures_of(month.values(column)).order_by("-billed", "-calls")[:ROWS_SHOWN]
    ]
    return {"headers": [title, "Spent, USD", "Saved, USD", "Calls", "Cached"], "rows": rows}


def _link(name: str, pk: Any, text: str) -> SafeString:
    return format_html(
        '<a href="{}" class="text-link">{}</a>', reverse(f"admin:{name}_change", args=(pk,)), text
    )
