"""What a request is: the same figure in the API, the month report, the statement, the sums by day and the home page."""

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Sum

from billing.ledger.corrections import credit
from billing.ledger.rollups import rebuild_dirty
from billing.models import UsageDaily, UsageSum
from billing.months.exports import export
from billing.months.report import MonthReport, month_report
from llm.views.usage import GROUPS, OF_DAYS, usage_sql
from tests.billing.shop import Shop


def hedged(shop: Shop, at: datetime) -> None:
    """Two attempts of one request that both cost: a hedge that lost the race, and another model that answered."""
    request_id = uuid4()
    shop.call(at, request_id=request_id, usage_source="estimated")
    shop.model, first = f"{shop.model}-large", shop.model
    shop.price("input", "3")
    shop.price("output", "12")
    shop.call(at, request_id=request_id, attempt_no=2)
    shop.model = first


def repaired(shop: Shop, at: datetime) -> None:
    """An answer that was not what the schema asks for, and the one that was, of the same model."""
    request_id = uuid4()
    shop.call(at, request_id=request_id)
    shop.call(at, request_id=request_id, attempt_no=2)


def with_own_calls(shop: Shop, at: datetime) -> None:
    """One miss, and what the gateway asked for its caches' sake."""
    request_id = uuid4()
    shop.call(at, request_id=request_id)
    shop.call(at, request_id=request_id, attempt_no=2, cache_state="judge")
    shop.call(at, cache_state="check")
    shop.call(at, cache_state="embed")


def corrected(shop: Shop, at: datetime) -> None:
    attempt_id = shop.call(at, usage_source="estimated")
    shop.call(at, {"input": 7, "output": 7}, attempt_id=attempt_id)


def credited(shop: Shop, at: datetime) -> None:
    """A credit, and no call: of the month that runs."""
    credit(shop.tenant, amount_usd=Decimal(5), reason="goodwill", acting_user=None)


def one_of_each(shop: Shop, at: datetime) -> None:
    shop.hit(at)
    for write in (hedged, repaired, with_own_calls, corrected):
        write(shop, at)


@pytest.mark.parametrize(
    ("write", "requests", "hits"),
    [
        (Shop.call, 1, 0),
        (Shop.hit, 1, 1),
        (hedged, 1, 0),
        (repaired, 1, 0),
        (with_own_calls, 1, 0),
        (corrected, 1, 0),
        (one_of_each, 5, 1),
    ],
)
def test_five_places_count_the_same_requests_and_hits(
    write: Callable[[Shop, datetime], None], requests: int, hits: int, shop: Shop, last_month: datetime
) -> None:
    write(shop, last_month)
    report = report_of(shop, last_month)
    daily, home = sums_by_day(shop)
    assert [usage(shop, last_month)["requests"], report.totals.requests, daily, home["calls"]] == [
        requests
    ] * 4
    assert [usage(shop, last_month)["hits"], report.totals.cache_hits, home["cached"]] == [hits] * 3
    assert shop.close(last_month).request_count == requests


def test_a_credit_is_no_request_in_any_of_them(shop: Shop, last_month: datetime) -> None:
    credited(shop, last_month)
    now_month = last_month.replace(day=28) + timedelta(days=7)
    report = report_of(shop, now_month)
    daily, home = sums_by_day(shop)
    assert (usage(shop, now_month)["requests"], report.totals.requests, daily, home["calls"]) == (
        0,
        0,
        0,
        0,
    )
    assert report.totals.billed_cost_usd == usage(shop, now_month)["billed"] == -5
    assert shop.close(last_month).request_count == 0


def test_saved_is_the_same_in_all_of_them(shop: Shop, last_month: datetime) -> None:
    one_of_each(shop, last_month)
    report = report_of(shop, last_month)
    _, home = sums_by_day(shop)
    saved = home["listed"] + home["adjusted"] - home["billed"]
    assert report.totals.saved_usd == usage(shop, last_month)["saved"] == saved


@pytest.mark.parametrize("group", GROUPS)
def test_groups_add_up_to_the_requests(group: str, shop: Shop, last_month: datetime) -> None:
    """A request of two models counts once, where its first attempt is."""
    one_of_each(shop, last_month)
    assert usage(shop, last_month, group=group)["requests"] == 5
    assert all(
        sum(one.measures.requests for one in section.groups) == 5
        for section in report_of(shop, last_month).sections
    )


def test_a_file_counts_no_request_twice(shop: Shop, last_month: datetime) -> None:
    one_of_each(shop, last_month)
    out = io.BytesIO()
    export(report_of(shop, last_month), "focus", out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))
    assert sum(int(row["x_Requests"]) for row in rows) == 5


def report_of(shop: Shop, at: datetime) -> MonthReport:
    return month_report(shop.tenant, month=f"{at:%Y-%m}")


def usage(shop: Shop, at: datetime, *, group: str = "model") -> dict[str, Decimal]:
    """The sums of the API's own query over the month."""
    arguments = {
        "tenant": shop.tenant.pk,
        "timezone": "UTC",
        "start": at.date().replace(day=1),
        "end": _last_day(at),
    }
    with connection.cursor() as cursor:
        cursor.execute(usage_sql(group=group, rows=OF_DAYS), arguments)
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    columns = {
        "requests": "requests",
        "hits": "cache_hits",
        "listed": "list_cost_usd",
        "saved": "saved_usd",
        "billed": "cost_usd",
    }
    return {name: sum(row[column] for row in rows) for name, column in columns.items()}


def _last_day(at: datetime) -> date:
    return (at.replace(day=28) + timedelta(days=4)).replace(day=1).date() - timedelta(days=1)


def sums_by_day(shop: Shop) -> tuple[int, dict[str, Decimal]]:
    while rebuild_dirty():
        pass
    days = UsageDaily.objects.filter(tenant=shop.tenant)
    sums = UsageSum.objects.filter(tenant=shop.tenant, dimension="total")
    home = sums.aggregate(
        calls=Sum("requests"),
        cached=Sum("hits"),
        listed=Sum("list_cost"),
        adjusted=Sum("adjusted_cost"),
        billed=Sum("billed_cost"),
    )
    return days.aggregate(total=Sum("requests"))["total"], home
