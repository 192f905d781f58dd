"""The first tab: this month in figures, the last thirty days, what it is spent on, what is open, and the last requests.

Invariant: a fixed number of queries over the days' sums; the log of requests is only asked for its newest rows.
"""

from datetime import date, timedelta
from typing import Any, Final

from django.http import HttpRequest
from django.utils.text import Truncator

from billing.admin.figures import count, percent, usd, utc_today
from billing.models import AlertEvent
from config.tenant_page import bars, days
from config.tenant_page.parts import (
    Link,
    Section,
    TabContent,
    change,
    first_of_month,
    list_url,
    month_before,
    requests_link,
    row_link,
    tab_url,
    when,
)
from llm.models import RequestLog
from tenants.models import Tenant

DAYS_SHOWN: Final = 30
TOPS_SHOWN: Final = 5
REQUESTS_SHOWN: Final = 10
ALERTS_SHOWN: Final = 5


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """The tab's cards, charts and tables."""
    today = utc_today().date()
    first_shown = min(today - timedelta(days=DAYS_SHOWN - 1), month_before(today)[0])
    by_day = days.by(days.days_of(tenant, first_shown, today), "day")
    month = days.days_of(tenant, first_of_month(today), today)
    return TabContent(
        cards=_cards(by_day, today),
        sections=[
            _chart(
                "Spent and saved by day, USD", by_day, today, bars.money, ("Paid", _paid), ("Saved", _saved)
            ),
            _chart(
                "Requests by day",
                by_day,
                today,
                bars.count,
                ("To a provider", _sent),
                ("From the cache", _cached),
            ),
            _open_alerts(tenant),
            _top(tenant, month, "model", "Models", "model"),
            _top(tenant, month, "user_id", "Users", "user"),
            _top(tenant, month, "feature", "Features", "feature"),
            _last_requests(tenant),
        ],
    )


def _cards(by_day: dict[date, dict[str, Any]], today: date) -> list[dict[str, Any]]:
    month = [row for day, row in by_day.items() if day >= first_of_month(today)]
    first, last = month_before(today)
    same_days = min(first + timedelta(days=today.day - 1), last)
    before = [row for day, row in by_day.items() if first <= day <= same_days]
    billed, listed, saved = (days.total(month, name) for name in ("billed", "listed", "saved"))
    calls, cached = days.total(month, "calls"), days.total(month, "cached")

    def compared(name: str) -> str:
        difference = change(days.total(month, name), days.total(before, name))
        return (
            f"{difference} against the same days of {first:%B}"
            if difference
            else f"UTC days since 1 {today:%B}"
        )

    return [
        {"title": "Spent this month", "value": usd(billed), "note": compared("billed")},
        {
            "title": "Saved this month",
            "value": usd(saved),
            "note": f"{percent(saved, listed)} of {usd(listed)} at list price",
        },
        {"title": "Requests this month", "value": count(calls), "note": compared("calls")},
        {
            "title": "Cache hit rate",
            "value": percent(cached, calls),
            "note": f"{count(cached)} answered by our caches",
        },
    ]


def _paid(row: dict[str, Any]) -> Any:
    return row["billed"]


def _saved(row: dict[str, Any]) -> Any:
    return max(row["saved"], 0)


def _sent(row: dict[str, Any]) -> Any:
    return row["calls"] - row["cached"]


def _cached(row: dict[str, Any]) -> Any:
    return row["cached"]


def _chart(
    title: str, by_day: dict[date, dict[str, Any]], today: date, form: Any, *series: tuple[str, Any]
) -> Section:
    shown = [today - timedelta(days=back) for back in reversed(range(DAYS_SHOWN))]
    values = [
        (label, [value(by_day[day]) if day in by_day else 0 for day in shown]) for label, value in series
    ]
    return Section(
        title,
        chart=bars.stacked_bars(title, [f"{day:%d %b}" for day in shown], values, form=form),
        is_wide=False,
    )


def _open_alerts(tenant: Tenant) -> Section:
    events = AlertEvent.objects.filter(tenant=tenant, acknowledged_at=None).order_by("-fired_at")
    rows = [
        [
            when(event.fired_at, tenant),
            row_link("billing_alertevent", event.pk, Truncator(event.message).chars(120)),
        ]
        for event in events[:ALERTS_SHOWN]
    ]
    url = list_url("billing_alertevent", tenant__id__exact=tenant.pk)
    table = {"headers": ["Since", "Alert"], "rows": rows, "empty": "Nothing needs you here."}
    return Section("Open alerts", table, [Link("All alerts", url)])


def _top(tenant: Tenant, month: Any, column: str, title: str, choice: str) -> Section:
    groups = days.measured(month.exclude(**{column: ""}).values(column)).order_by("-billed", "-calls", column)
    rows = [
        [
            requests_link(tenant, Truncator(row[column]).chars(40), **{choice: row[column]}),
            row["billed"],
            row["saved"],
            row["calls"],
        ]
        for row in groups[:TOPS_SHOWN]
    ]
    links = [Link("All users", tab_url(tenant, "users"))] if column == "user_id" else []
    table = {
        "headers": [title, "Spent, USD", "Saved, USD", "Requests"],
        "rows": rows,
        "empty": "None this month.",
    }
    return Section(f"{title}, this month", table, links, is_wide=False)


def _last_requests(tenant: Tenant) -> Section:
    newest = RequestLog.objects.filter(tenant=tenant).order_by("-at").defer("receipt")[:REQUESTS_SHOWN]
    table = requests_table(tenant, newest)
    links = [
        Link("All requests", tab_url(tenant, "requests")),
        Link("Find one", list_url("llm_requestlog", tenant=tenant.slug)),
    ]
    return Section("Last requests", table, links)


def requests_table(tenant: Tenant, entries: Any) -> dict[str, Any]:
    """Requests as a table, each leading to its receipt."""
    rows = [
        [
            row_link("llm_requestlog", entry.pk, when(entry.at, tenant)),
            entry.user or entry.feature or "–",
            entry.model or entry.model_asked,
            entry.cache_state,
            f"{entry.status} {entry.error_code}".strip(),
            entry.cost_usd,
            entry.latency_ms,
        ]
        for entry in entries
    ]
    return {
        "headers": ["At", "User or feature", "Model", "Cache", "Status", "Cost, USD", "ms"],
        "rows": rows,
        "empty": "No request yet. Issue a key, and point an SDK at this gateway.",
    }
