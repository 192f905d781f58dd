"""The days' sums equal the ledger, however often and by however many they are rebuilt."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.db.models import Sum

from billing.ledger.corrections import credit
from billing.ledger.rollups import NO_NESTED_LOOP, REBUILD, rebuild_dirty
from billing.ledger.settlements import Settlement
from billing.models import RollupDirty, UsageDaily
from billing.prices.book import load_price_book
from billing.prices.rating import rate_bound
from tests.billing.months.reports.conftest import GPT, Books
from tests.billing.shop import Shop

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)


def rebuild_all() -> None:
    while rebuild_dirty():
        pass


def summed(books: Books, column: str = "billed_cost") -> Decimal:
    return UsageDaily.objects.filter(tenant=books.tenant).aggregate(total=Sum(column))["total"]


async def test_it_works(books: Books) -> None:
    await sync_to_async(rebuild_all)()
    assert await sync_to_async(summed)(books) == await sync_to_async(books.ledger_sum)()
    listed = await sync_to_async(books.ledger_sum)("list_cost", kind="usage")
    assert await sync_to_async(summed)(books, "list_cost") == listed
    calls = await sync_to_async(books.ledger_sum)("(kind = 'usage')::int")
    assert await sync_to_async(summed)(books, "requests") == calls == 31
    assert not await RollupDirty.objects.filter(tenant=books.tenant).aexists()


async def test_a_rebuild_can_be_repeated(books: Books) -> None:
    await sync_to_async(rebuild_all)()
    await RollupDirty.objects.acreate(tenant=books.tenant, day=date(2026, 11, 3))
    await RollupDirty.objects.acreate(tenant=books.tenant, day=date(2026, 11, 3))
    await sync_to_async(rebuild_all)()
    assert await sync_to_async(summed)(books) == await sync_to_async(books.ledger_sum)()


async def test_a_later_call_is_added(books: Books) -> None:
    await sync_to_async(rebuild_all)()
    before = await sync_to_async(summed)(books)
    cost = await books.call(GPT, {"input": 100, "output": 10}, at=NOON)
    await sync_to_async(rebuild_all)()
    assert await sync_to_async(summed)(books) == before + cost


async def test_rebuilds_at_once_count_nothing_twice(books: Books) -> None:
    def work() -> None:
        for _ in range(5):
            RollupDirty.objects.create(tenant=books.tenant, day=date(2026, 11, 3))
            rebuild_dirty()
        connections.close_all()

    def race() -> None:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rebuild_all()

    await sync_to_async(race)()
    assert await sync_to_async(summed)(books) == await sync_to_async(books.ledger_sum)()


def test_what_is_paid_besides_usage_is_told_apart(shop: Shop, last_month: datetime) -> None:
    estimate = shop.call(last_month, {"output": 999}, usage_source="estimated")
    shop.call(last_month, {"output": 333}, attempt_id=estimate)
    shop.call(last_month, removed_input_tokens=100)
    credit(shop.tenant, amount_usd=Decimal(5), reason="goodwill")
    rebuild_all()
    days = UsageDaily.objects.filter(tenant=shop.tenant)
    billed = {row["kind"]: row["total"] for row in days.values("kind").annotate(total=Sum("billed_cost"))}
    assert billed == {
        "usage": Decimal("0.01749"),
        "correction": Decimal("-0.00666"),
        "credit": Decimal(-5),
    }
    totals = days.aggregate(listed=Sum("list_cost"), saved=Sum("saved_cost"), requests=Sum("requests"))
    assert totals == {"listed": Decimal("0.01774"), "saved": Decimal("0.00025"), "requests": 2}
    assert [day.saving for day in days if day.saving] == [{"compression": "0.000250000000"}]


def test_what_a_request_cost_more_than_one_call_is_no_saving(shop: Shop, last_month: datetime) -> None:
    request_id = uuid4()
    shop.call(last_month, request_id=request_id)
    shop.call(last_month, request_id=request_id, attempt_no=2)
    shop.call(last_month, cache_state="judge")
    rebuild_all()
    (day, own) = UsageDaily.objects.filter(tenant=shop.tenant).order_by("-requests")
    assert (day.requests, day.calls, day.further_calls, day.own_calls) == (1, 2, 1, 0)
    assert (day.list_cost, day.billed_cost, day.saved_cost) == (
        Decimal("0.0075"), Decimal("0.015"), Decimal("-0.0075")
    )  # fmt: skip
    assert day.saving == {"further_calls": "-0.007500000000"}
    assert (own.requests, own.calls, own.own_calls) == (0, 1, 1)


def test_every_sum_says_how_sure_it_is(shop: Shop, last_month: datetime) -> None:
    lost = shop.open_attempt(last_month, hold=Decimal(2))
    explained = shop.open_attempt(last_month, hold=Decimal(3))
    shop.call(last_month)
    for attempt in (lost, explained):
        shop.call(last_month, attempt_id=attempt, usage_source="estimated")
    unread = shop.open_attempt(last_month, hold=Decimal(1))
    priced = {"input": 1000}
    rates = load_price_book(shop.tenant.pk).rates(shop.provider, shop.model, at=last_month)
    rated = rate_bound(priced, rates, least_usd=Decimal("0.9"))
    shop.settle(Settlement(unread, "estimated", rated, priced, rated.cost_usd, certainty="unread"))
    shop.call(last_month, {"input": 10}, attempt_id=explained)
    rebuild_all()
    days = UsageDaily.objects.filter(tenant=shop.tenant).order_by().values("certainty")
    sums = {
        row["certainty"]: (row["billed"], row["least"], row["most"])
        for row in days.annotate(billed=Sum("billed_cost"), least=Sum("least_cost"), most=Sum("most_cost"))
    }
    assert sums == {
        "exact": (Decimal("0.007525"),) * 3,
        "estimated": (Decimal("0.0075"), Decimal(0), Decimal(2)),
        "unread": (Decimal("0.9"), Decimal("0.0025"), Decimal(1)),
    }


def test_a_day_knows_the_months_that_its_rows_were_booked_in(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    shop.close(last_month)
    shop.call(last_month, {"input": 1000})
    rebuild_all()
    days = UsageDaily.objects.filter(tenant=shop.tenant, day=last_month.date()).order_by("charge_class")
    assert [(day.charge_class, day.billed_cost) for day in days] == [
        ("", Decimal("0.0075")),
        ("Correction", Decimal("0.0025")),
    ]
    assert days[0].period_id == shop.period(last_month).pk != days[1].period_id


async def test_no_row_of_a_day_is_compared_with_each_other_row(books: Books) -> None:
    def plan() -> str:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(NO_NESTED_LOOP)
            cursor.execute(f"EXPLAIN {REBUILD}", {"tenant": books.tenant.pk, "day": date(2026, 11, 3)})
            return "\n".join(line for (line,) in cursor.fetchall())

    assert "Nested Loop" not in await sync_to_async(plan)()
