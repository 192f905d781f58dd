"""A day's sums along each dimension equal the ledger's, and a caller who invents users cannot make them many."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models import Sum

from billing.ledger import rollups
from billing.ledger.corrections import credit
from billing.models import RollupDirty, UsageDaily, UsageSum
from tests.billing.months.reports.conftest import GPT, Books
from tests.billing.months.reports.test_rollups import rebuild_all

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
COLUMNS = ("requests", "hits", "list_cost", "adjusted_cost", "billed_cost")


def totals(books: Books, dimension: str) -> dict[str, Any]:
    rows = UsageSum.objects.filter(tenant=books.tenant, dimension=dimension)
    return rows.aggregate(**{name: Sum(name) for name in COLUMNS})


def savings(books: Books) -> dict[str, Decimal]:
    """What the sums say of each kind of saving, and what the ledger says of usage."""
    sql = """
    SELECT kind.key, sum(kind.value::numeric) FROM {table} AS r, jsonb_each_text(r.saving) AS kind
    WHERE r.tenant_id = %s AND kind.key NOT IN ('corrections', 'adjustments', 'credits') GROUP BY 1 ORDER BY 1"""
    found = []
    for table in ("billing_usagesum", "billing_usagerecord"):
        with connection.cursor() as cursor:
            cursor.execute(sql.format(table=table), [books.tenant.pk])
            found.append(dict(cursor.fetchall()))
    assert found[0] == found[1]
    return found[0]


async def test_it_works(books: Books) -> None:
    await sync_to_async(rebuild_all)()
    whole = await sync_to_async(totals)(books, "total")
    assert whole["billed_cost"] == await sync_to_async(books.ledger_sum)()
    assert whole["requests"] == await sync_to_async(books.ledger_sum)("(kind = 'usage')::int")
    for dimension in ("model", "user", "feature", "key", "tier"):
        assert await sync_to_async(totals)(books, dimension) == whole, dimension
    assert await sync_to_async(savings)(books)


async def test_what_is_entered_by_hand_has_no_list_price(books: Books) -> None:
    await sync_to_async(rebuild_all)()
    before = await sync_to_async(totals)(books, "total")
    await sync_to_async(credit)(books.tenant, amount_usd=Decimal("0.25"), reason="goodwill")
    await sync_to_async(rebuild_all)()
    after = await sync_to_async(totals)(books, "total")
    assert after["list_cost"] == before["list_cost"]
    assert after["adjusted_cost"] - before["adjusted_cost"] == Decimal("-0.25")
    saved = sum((await sync_to_async(savings)(books)).values())
    assert after["list_cost"] - saved + after["adjusted_cost"] == after["billed_cost"]
    (credits,) = await sync_to_async(list)(
        UsageSum.objects.filter(tenant=books.tenant, saving__has_key="credits", saving__credits__gt=0.1)
    )
    assert Decimal(str(credits.saving["credits"])) == Decimal("0.25")


async def test_a_caller_who_invents_users_cannot_make_the_sums_many(books: Books) -> None:
    day = date(2026, 11, 20)

    def invent() -> None:
        UsageDaily.objects.bulk_create(
            UsageDaily(
                tenant=books.tenant,
                day=day,
                user_id=f"user-{number}",
                requests=1,
                billed_cost=Decimal(number),
            )
            for number in range(rollups.MOST_VALUES + 20)
        )
        with connection.cursor() as cursor:
            cursor.execute(rollups.REBUILD_SUMS, {"tenant": books.tenant.pk, "day": day})

    await sync_to_async(invent)()
    users = UsageSum.objects.filter(tenant=books.tenant, day=day, dimension="user")
    assert await users.acount() == rollups.MOST_VALUES + 1
    rest = await users.aget(is_rest=True)
    assert (rest.requests, rest.billed_cost, rest.value) == (20, Decimal(sum(range(20))), "")
    assert not await users.filter(value="user-19").aexists()
    await RollupDirty.objects.acreate(tenant=books.tenant, day=day)  # the ledger knows none of them
    await sync_to_async(rebuild_all)()
    assert not await users.aexists()


async def test_a_later_call_is_added_once(books: Books) -> None:
    await sync_to_async(rebuild_all)()
    before = await sync_to_async(totals)(books, "model")
    cost = await books.call(GPT, {"input": 100, "output": 10}, at=NOON)
    for _ in range(2):
        await RollupDirty.objects.acreate(tenant=books.tenant, day=NOON.date())
        await sync_to_async(rebuild_all)()
    after = await sync_to_async(totals)(books, "model")
    assert after["billed_cost"] == before["billed_cost"] + cost
    assert after["requests"] == before["requests"] + 1
