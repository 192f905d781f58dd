"""The first tab: this month in figures, the last thirty days, what it is spent on, what is open, and the last requests.

Invariant: a fixed number of queries over the days' sums; the log of requests is only asked for its newest rows.
"""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import Count, Max, Min, Sum
from django.db.models.functions import Sign
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import Truncator

from billing import incidents
from billing.admin.figures import count, percent, usd, utc_today
from billing.alerts.metrics import facts_of
from billing.models import AlertEvent
from config.site import plots
from config.tenant_page import days
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
from tenants.models import ApiKey, Tenant

DAYS_SHOWN: Final = 30
TOPS_SHOWN: Final = 5
REQUESTS_SHOWN: Final = 10
ALERTS_SHOWN: Final = 5


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """The tab's cards, charts and tables."""
    today = utc_today().date()
    first_shown = min(today - timedelta(days=DAYS_SHOWN - 1), month_before(today)[0])
    totals = days.summed(days.sums_of(tenant, "total", first_shown, today).values("day"))
    by_day = {row["day"]: row for row in totals}
    outcomes = days.outcomes(tenant, first_shown, today)
    return TabContent(
        cards=[*_cards(by_day, outcomes, today), _unallocated(tenant, by_day, today)],
        sections=[
            _spent(tenant, by_day, today),
            _ended(tenant, outcomes, today),
            _open_alerts(tenant),
            _top(tenant, today, "model", "Models", "model"),
            _top(tenant, today, "user", "Users", "user"),
            _top(tenant, today, "feature", "Features", "feature"),
            _top(tenant, today, "key", "Keys", "key"),
            _last_requests(tenant),
        ],
    )


def _cards(
    by_day: dict[date, dict[str, Any]], outcomes: dict[date, dict[str, int]], today: date
) -> list[dict[str, Any]]:
    month = [row for day, row in by_day.items() if day >= first_of_month(today)]
    first, last = month_before(today)
    same_days = min(first + timedelta(days=today.day - 1), last)
    before = [row for day, row in by_day.items() if first <= day <= same_days]
    billed, listed = days.total(month, "billed"), days.total(month, "listed")
    calls, cached = days.total(month, "calls"), days.total(month, "cached")
    saved = sum((days.saved(row) for row in month), start=Decimal(0))
    ended = [counts for day, counts in outcomes.items() if day >= first_of_month(today)]
    refused, failed = (sum(counts.get(name, 0) for counts in ended) for name in ("refused", "failed"))
    asked = sum(sum(counts.values()) for counts in ended)

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
        {
            "title": "Refused or failed",
            "value": percent(refused + failed, asked),
            "note": f"{count(refused)} refused, {count(failed)} failed",
        },
    ]


def _unallocated(tenant: Tenant, by_day: dict[date, dict[str, Any]], today: date) -> dict[str, Any]:
    month = [row for day, row in by_day.items() if day >= first_of_month(today)]
    lacking = days.unallocated(tenant, first_of_month(today), today)
    calls = count(lacking["calls"])
    return {
        "title": "Unallocated this month",
        "value": usd(lacking["billed"]),
        "note": f"{percent(lacking['billed'], days.total(month, 'billed'))} of it: {calls} requests lack a required tag",
    }


def _spent(tenant: Tenant, by_day: dict[date, dict[str, Any]], today: date) -> Section:
    rows = [by_day.get(day) for day in _shown(today)]
    paid = [row["billed"] if row else Decimal(0) for row in rows]
    saved = [max(days.saved(row), Decimal(0)) if row else Decimal(0) for row in rows]
    series = [plots.Series("Paid", paid, 1), plots.Series("Saved", saved, 3)]
    return _chart(tenant, today, "Spent and saved by day", series)


def _ended(tenant: Tenant, outcomes: dict[date, dict[str, int]], today: date) -> Section:
    series = [
        plots.Series(
            name,
            [outcomes.get(day, {}).get(measure, 0) for day in _shown(today)],
            colour,
            list_url("llm_requestlog", tenant=tenant.slug, outcome=found_as, period="30d"),
        )
        for measure, name, colour, found_as in plots.OUTCOMES
    ]
    return _chart(tenant, today, "Requests by outcome", series)


def _chart(tenant: Tenant, today: date, title: str, series: list[plots.Series]) -> Section:
    """Columns of days, each leading to the requests of its day."""
    columns = [
        plots.Column(
            f"{day:%-d %b}", list_url("llm_requestlog", tenant=tenant.slug, **{"from": day, "to": day})
        )
        for day in _shown(today)
    ]
    return Section(title, chart=plots.stacked(columns, series, title=title), is_wide=False)


def _shown(today: date) -> list[date]:
    return [today - timedelta(days=back) for back in reversed(range(DAYS_SHOWN))]


def _open_alerts(tenant: Tenant) -> Section:
    """What is not over, one line for a rule and subject; what nobody takes care of comes first."""
    going_on = AlertEvent.objects.filter(tenant=tenant, resolved_at=None)
    waiting = Count("pk", filter=incidents.in_state("open"))
    groups = (
        going_on.order_by()
        .values("metric", "rule", "subject_key")
        .annotate(
            events=Count("pk"), waiting=waiting, seen=Sum("count"), since=Min("fired_at"), last=Max("last_at"),
            newest=Max("pk"),
        )
        .order_by(Sign("waiting").desc(), "-last", "metric", "subject_key")
    )[:ALERTS_SHOWN]  # fmt: skip
    messages = dict(
        going_on.filter(pk__in=[group["newest"] for group in groups]).values_list("pk", "message")
    )
    rows = [
        [
            facts_of(group["metric"]).title,
            row_link(
                "billing_alertevent",
                group["newest"],
                Truncator(messages.get(group["newest"], "")).chars(120),
            ),
            int(group["seen"]),
            when(group["since"], tenant),
            when(group["last"], tenant),
            "waits" if group["waiting"] else "taken care of",
        ]
        for group in groups
    ]
    url = list_url("billing_alertevent", tenant__id__exact=tenant.pk)
    headers = ["What", "Alert", "Seen", "Since", "Last seen", ""]
    table = {"headers": headers, "rows": rows, "empty": "Nothing needs you here."}
    return Section("Open alerts", table, [Link("All alerts", url)])


def _top(tenant: Tenant, today: date, dimension: str, title: str, choice: str) -> Section:
    month = (
        days.sums_of(tenant, dimension, first_of_month(today), today).exclude(value="").filter(is_rest=False)
    )
    dearest = list(days.summed(month.values("value")).order_by("-billed", "-calls", "value")[:TOPS_SHOWN])
    names: dict[str, str] = {}
    if dimension == "key":
        keys = ApiKey.objects.filter(tenant=tenant, pk__in=[row["value"] for row in dearest])
        names = {str(key.pk): key.name for key in keys}
    rows = [
        [
            requests_link(tenant, Truncator(name).chars(40), **{choice: name}),
            plots.share(row["billed"], dearest[0]["billed"]),
            row["billed"],
            days.saved(row),
            row["calls"],
        ]
        for row in dearest
        for name in [names.get(row["value"], row["value"])]
    ]
    links = (
        [Link(f"All {dimension}s", tab_url(tenant, f"{dimension}s"))] if dimension in ("user", "key") else []
    )
    table = {
        "headers": [title.removesuffix("s"), "", "Spent, USD", "Saved, USD", "Requests"],
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
            format_html("{} {}", entry.status, entry.error_code),
            entry.cost_usd,
            entry.latency_ms,
        ]
        for entry in entries
    ]
    return {
        "headers": ["At", "User or feature", "Model", "Cache", "Status", "Cost, USD", "Took, ms"],
        "rows": rows,
        "empty": "No request yet. Issue a key, and point an SDK at this gateway.",
    }
