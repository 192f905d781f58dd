"""The days' sums equal the ledger, however often and by however many they are rebuilt."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal

from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.db.models import Sum

from billing.ledger.rollups import NO_NESTED_LOOP, REBUILD, rebuild_dirty
from billing.models import RollupDirty, UsageDaily
from tests.billing.months.reports.conftest import GPT, Books

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)


def rebuild_all() -> None:
    while rebuild_dirty():
        pass


def summed(books: Books, column: str = "billed_cost") -> Decimal:
    return UsageDaily.objects.filter(tenant=books.tenant).aggregate(total=Sum(column))["total"]


async def test_it_works(books: Books) -> None:
    await sync_to_async(rebuild_all)()
    assert await sync_to_async(summed)(books) == await sync_to_async(books.ledger_sum)()
    assert await sync_to_async(summed)(books, "list_cost") == await sync_to_async(books.ledger_sum)(
        "list_cost"
    )
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


async def test_no_row_of_a_day_is_compared_with_each_other_row(books: Books) -> None:
    def plan() -> str:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(NO_NESTED_LOOP)
            cursor.execute(f"EXPLAIN {REBUILD}", {"tenant": books.tenant.pk, "day": date(2026, 11, 3)})
            return "\n".join(line for (line,) in cursor.fetchall())

    assert "Nested Loop" not in await sync_to_async(plan)()
