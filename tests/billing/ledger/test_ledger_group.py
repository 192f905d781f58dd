"""One group for all kinds: they commit together, and each keeps its own laws."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection

from billing.budgets.balances import BudgetExceeded
from billing.ledger.group_commit import RIDE_SECONDS
from billing.ledger.holds import ADMISSIONS, admit
from billing.ledger.ledger_group import Kind, execute
from billing.ledger.settlements import HITS, NOTES, SETTLEMENTS, VOIDS, _Progress, _Void
from billing.models import Attempt, BudgetWindow, UsageLine, UsageRecord
from config import resources
from llm.calls.request_log import ROWS, NotLogged
from llm.models import RequestLog
from tests.billing.conftest import Account, new_id
from tests.orm import in_thread

MakeAccount = Callable[..., Account]
Entry = tuple[Kind[Any, Any], Any]

pytestmark = pytest.mark.usefixtures("loop_resources")


def log_row(account: Account, **values: Any) -> dict[str, Any]:
    blank = {
        field.attname: field.get_default()
        for field in RequestLog._meta.concrete_fields
        if field.attname != "request_id"
    }
    return {
        **blank,
        "request_id": str(new_id()),
        "tenant_id": account.tenant_id,
        "at": datetime.now(UTC),
        "status": 200,
        "latency_ms": 1,
        "receipt": {},
        **values,
    }


async def world_of(account: Account) -> tuple[Decimal, Decimal, int, int, int]:
    """What is held and spent, attempts, ledger rows and lines."""

    def read() -> tuple[Decimal, Decimal, int, int, int]:
        window = BudgetWindow.objects.get(tenant_id=account.tenant_id)
        counts = (
            model.objects.filter(tenant_id=account.tenant_id) for model in (Attempt, UsageRecord, UsageLine)
        )
        attempts, rows, lines = (query.count() for query in counts)
        return window.held, window.spent, attempts, rows, lines

    return await in_thread(read)


def transactions_of(account: Account) -> set[int]:
    """Those that wrote the account's window, its ledger rows, and the last of its attempts."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xmin::text::bigint FROM billing_budgetwindow WHERE tenant_id = %(tenant)s"
            " UNION SELECT xmin::text::bigint FROM billing_usagerecord WHERE tenant_id = %(tenant)s"
            " UNION (SELECT xmin::text::bigint FROM billing_attempt WHERE tenant_id = %(tenant)s ORDER BY id DESC LIMIT 1)",
            {"tenant": account.tenant_id},
        )
        return {row[0] for row in cursor.fetchall()}


async def of_every_kind(account: Account) -> list[Entry]:
    """A settlement, a void, a note, a hit, a log row, an admission that fits and one that does not."""
    to_settle, to_void, running = (account.attempt(usd="0.1") for _ in range(3))
    for attempt in (to_settle, to_void, running):
        await admit(attempt)
    return [
        (ADMISSIONS, account.attempt(usd="0.5")),
        (SETTLEMENTS, account.settlement(to_settle.id)),
        (ROWS, log_row(account)),
        (ADMISSIONS, account.attempt(usd="5")),
        (VOIDS, _Void(to_void.id, "not sent")),
        (HITS, account.hit()),
        (NOTES, _Progress(running.id, {"output_tokens": 7})),
    ]


async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    entries = await of_every_kind(account)
    replies = await execute(entries)
    assert len(await in_thread(transactions_of, account)) == 1
    admitted, settled, logged, refused, voided, hit, noted = replies
    # 0.1 of the note's attempt and 0.5: what was settled and voided was given back before
    assert admitted[0].held == settled[0].held == voided[0].held == hit[0].held == Decimal("0.6")
    assert settled[0].spent == Decimal("0.002")
    assert isinstance(refused, BudgetExceeded)
    assert (logged, noted) == (None, None)
    assert await world_of(account) == (Decimal("0.6"), Decimal("0.002"), 4, 2, 2)
    progress = await in_thread(lambda: Attempt.objects.get(pk=entries[-1][1].attempt_id).progress)
    assert progress == {"output_tokens": 7}
    assert await in_thread(RequestLog.objects.filter(tenant_id=account.tenant_id).count) == 1


async def test_what_is_given_back_in_a_group_is_held_in_it(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    full = account.attempt(usd="1")
    await admit(full)
    next_one = account.attempt(usd="1")
    (balance,), (after,) = await execute([(ADMISSIONS, next_one), (VOIDS, _Void(full.id, "not sent"))])
    assert (balance.held, after.held) == (1, 1)


async def test_a_group_whose_answer_was_lost_is_repeated_without_a_trace(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    entries = await of_every_kind(account)
    first = await execute(entries)
    once = await world_of(account)
    again = await execute(entries)
    assert await world_of(account) == once
    assert [type(reply) for reply in again] == [type(reply) for reply in first]
    assert await in_thread(RequestLog.objects.filter(tenant_id=account.tenant_id).count) == 1


async def test_a_log_row_that_fails_undoes_no_settlement_and_no_other_row(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.1")
    await admit(attempt)
    replies = await execute(
        [
            (ROWS, log_row(account)),
            (ROWS, log_row(account, status="not a number")),
            (SETTLEMENTS, account.settlement(attempt.id)),
            (ROWS, log_row(account)),
        ]
    )
    assert [type(reply) for reply in replies] == [type(None), NotLogged, list, type(None)]
    assert await world_of(account) == (0, Decimal("0.002"), 1, 1, 2)
    assert await in_thread(RequestLog.objects.filter(tenant_id=account.tenant_id).count) == 2


async def test_a_log_row_of_a_tenant_that_is_gone_undoes_no_settlement(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.1")
    await admit(attempt)
    row = log_row(account, tenant_id=10**15)
    await execute([(ROWS, row), (SETTLEMENTS, account.settlement(attempt.id))])
    assert await world_of(account) == (0, Decimal("0.002"), 1, 1, 2)
    await in_thread(RequestLog.objects.filter(request_id=row["request_id"]).delete)


async def test_a_log_that_is_locked_holds_up_no_settlement(
    make_account: MakeAccount, tests_database_url: str
) -> None:
    account = await in_thread(make_account, {"limit": 1})
    attempt = account.attempt(usd="0.1")
    await admit(attempt)
    async with await psycopg.AsyncConnection.connect(tests_database_url) as other:
        await other.execute("LOCK TABLE llm_requestlog")
        replies = await execute(
            [
                (ROWS, log_row(account)),
                (SETTLEMENTS, account.settlement(attempt.id)),
                (ROWS, log_row(account)),
            ]
        )
    assert [type(reply) for reply in replies] == [NotLogged, list, NotLogged]
    assert await world_of(account) == (0, Decimal("0.002"), 1, 1, 2)


async def test_who_is_at_fault_fails_alone_among_all_kinds(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    entries = await of_every_kind(account)
    entries.append((ADMISSIONS, account.attempt(usd="-1")))
    replies = await asyncio.gather(
        *(kind.submit(request) for kind, request in entries), return_exceptions=True
    )
    assert [isinstance(reply, Exception) for reply in replies] == [False] * 3 + [True] + [False] * 3 + [True]
    assert await world_of(account) == (Decimal("0.6"), Decimal("0.002"), 4, 2, 2)


async def test_a_refusal_in_a_full_window_leaves_no_attempt(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": "0.1"})
    attempt = account.attempt(usd="0.1")
    await admit(attempt)
    replies = await execute(
        [(ADMISSIONS, account.attempt(usd="0.1")), (ADMISSIONS, attempt), (ROWS, log_row(account))]
    )
    assert [type(reply) for reply in replies] == [BudgetExceeded, list, type(None)]
    assert await world_of(account) == (Decimal("0.1"), 0, 1, 0, 0)


async def test_a_row_of_the_log_waits_for_company(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    began = asyncio.get_running_loop().time()
    await ROWS.submit(log_row(account))
    assert asyncio.get_running_loop().time() - began > RIDE_SECONDS / 2  # none came
    riding = asyncio.create_task(ROWS.submit(log_row(account)))
    await asyncio.sleep(0)
    await admit(account.attempt(usd="0.1"))
    await asyncio.sleep(0)
    assert riding.done()


async def test_a_new_connection_makes_the_plans_of_all_kinds_and_writes_nothing() -> None:
    async with resources.db.connection() as one, one.transaction():
        await resources.make_plans(one)
        row = await (await one.execute("SELECT pg_current_xact_id_if_assigned()")).fetchone()
    assert row == (None,), "else it failed, or wrote something"
