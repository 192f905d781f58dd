"""Prepaid balances: what was paid ahead is held and spent as a budget is, and never more of it."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from billing.budgets.balances import BudgetExceeded
from billing.budgets.windows import load_budgets
from billing.contracts import prepaid
from billing.ledger.holds import admit
from billing.ledger.settlements import settle, void
from billing.models import AlertEvent, Budget, BudgetWindow, PrepaidBalance, PrepaidEntry, UsageRecord
from tenants.models import Tenant
from tests.billing.conftest import Account
from tests.orm import in_thread

ROOT = Path(__file__).resolve().parents[3]
MakeAccount = Callable[..., Account]
COST = Decimal("0.002")  # of a call of `Account.settlement`


def balance_of(account: Account, *amounts: str, **options: Any) -> PrepaidBalance:
    balance = prepaid.open_balance(Tenant.objects.get(pk=account.tenant_id), **options)
    for amount in amounts:
        prepaid.add(balance, amount_usd=Decimal(amount), reason="invoice 1")
    account.budgets = load_budgets(account.tenant_id)
    return balance


@pytest.mark.usefixtures("loop_resources")
async def test_it_works(make_account: MakeAccount) -> None:
    account = await in_thread(make_account, {"limit": 1})
    balance = await in_thread(balance_of, account, "0.015")
    first = account.attempt(usd="0.01")
    await admit(first)
    with pytest.raises(
        BudgetExceeded, match=r"The prepaid balance has 0\.005 USD left.*once it is topped up"
    ) as refusal:
        await admit(account.attempt(usd="0.01"))
    assert (refusal.value.code, refusal.value.recurs) == ("budget_exceeded", True)
    assert refusal.value.facts["scope"] == "prepaid"
    await settle(account.settlement(first.id))
    states = await in_thread(prepaid.states_of, [balance])
    assert states[balance.pk] == prepaid.BalanceState(Decimal("0.015"), COST, Decimal(0))
    await in_thread(lambda: prepaid.add(balance, amount_usd=Decimal(1), reason="invoice 2"))
    await admit(account.attempt(usd="0.5"))  # counts as soon as it is committed


@pytest.mark.usefixtures("loop_resources")
async def test_an_empty_balance_refuses_and_a_tenant_without_one_is_not_asked(
    make_account: MakeAccount,
) -> None:
    empty = await in_thread(make_account)
    await in_thread(balance_of, empty)
    with pytest.raises(BudgetExceeded, match="has 0 USD left"):
        await admit(empty.attempt(usd="0.000001"))
    without = await in_thread(make_account)
    assert await admit(without.attempt(usd="100")) == []  # no window, nothing to lock


def test_it_is_no_budget_that_people_edit_or_that_is_pressed_by(make_account: MakeAccount) -> None:
    account = make_account()
    balance = balance_of(account, "1")
    assert not Budget.objects.filter(tenant=account.tenant_id).exists()
    assert [facts.scope for facts in account.budgets] == ["prepaid"]
    assert str(prepaid.runway(balance) or "unknown") == "unknown"


@pytest.mark.usefixtures("loop_resources")
async def test_what_expires_first_is_used_first_and_the_rest_is_lost(make_account: MakeAccount) -> None:
    account = await in_thread(make_account)
    balance = await in_thread(balance_of, account, "1")
    soon, later = now() + timedelta(days=1), now() + timedelta(days=9)
    for amount, expires_at in (("0.02", later), ("0.01", soon)):
        await in_thread(
            lambda amount=amount, expires_at=expires_at: prepaid.add(
                balance, amount_usd=Decimal(amount), reason="goodwill", kind="grant", expires_at=expires_at
            )
        )
    called = account.attempt(usd="0.01")
    await admit(called)
    await settle(account.settlement(called.id))
    held = account.attempt(usd="0.003")
    await admit(held)
    parts = await in_thread(prepaid.parts_of, balance)
    assert [(part.amount_usd, part.left_usd) for part in parts] == [
        (Decimal("0.01"), Decimal("0.01") - COST - Decimal("0.003")),
        (Decimal("0.02"), Decimal("0.02")),
        (Decimal(1), Decimal(1)),
    ]
    # what a call holds of it stays the call's; what the call leaves of it goes the next time
    assert await in_thread(prepaid.expire_due, soon) == Decimal("0.005")
    assert await in_thread(prepaid.expire_due, soon) == 0
    await void(held.id, reason="not sent")
    assert await in_thread(prepaid.expire_due, soon) == Decimal("0.003")
    state = (await in_thread(prepaid.states_of, [balance]))[balance.pk]
    assert (state.left, state.held) == (Decimal("1.02"), 0)
    lost = await in_thread(
        lambda: list(PrepaidEntry.objects.filter(balance=balance, kind="expiry").select_related("of"))
    )
    assert {entry.of.amount_usd for entry in lost} == {Decimal("0.01")}


@pytest.mark.usefixtures("loop_resources")
async def test_no_more_is_paid_back_than_is_available(make_account: MakeAccount) -> None:
    account = await in_thread(make_account)
    balance = await in_thread(balance_of, account, "1")
    await admit(account.attempt(usd="0.4"))
    with pytest.raises(ValidationError, match=r"the balance has 0\.6 USD left"):
        await in_thread(lambda: prepaid.pay_back(balance, amount_usd=Decimal("0.61"), reason="leaves"))
    assert await in_thread(lambda: prepaid.pay_back(balance, amount_usd=Decimal("0.6"), reason="leaves")) == 0
    with pytest.raises(BudgetExceeded):
        await admit(account.attempt(usd="0.000001"))


def test_the_same_entry_adds_once_and_none_is_edited(make_account: MakeAccount) -> None:
    balance = balance_of(make_account())
    entry_id = uuid4()
    for _ in range(2):
        prepaid.add(balance, amount_usd=Decimal(5), reason="invoice 1", entry_id=entry_id)
    assert prepaid.states_of([balance])[balance.pk].added == 5
    with pytest.raises(ValidationError, match="never edited"):
        prepaid.add(balance, amount_usd=Decimal(6), reason="invoice 1", entry_id=entry_id)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        PrepaidEntry.objects.filter(pk=entry_id).update(amount_usd=6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_usd": Decimal(0)},
        {"reason": " "},
        {"kind": "expiry"},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"amount_usd": Decimal("0.0000000000001")},
    ],
    ids=str,
)
def test_an_entry_that_is_none_is_refused(make_account: MakeAccount, wrong: dict[str, Any]) -> None:
    balance = balance_of(make_account())
    with pytest.raises(ValidationError):
        prepaid.add(balance, **{"amount_usd": Decimal(1), "reason": "invoice 1", **wrong})
    assert not balance.entries.exists()


def test_each_level_is_told_once_until_something_is_added(make_account: MakeAccount) -> None:
    account = make_account()
    balance = balance_of(account, "15", alert_below_usd=[20, 10])
    alerts = AlertEvent.objects.filter(tenant=account.tenant_id, metric="prepaid_low")
    for _ in range(2):
        prepaid.notify_low()
    assert [alert.threshold for alert in alerts.all()] == [20]
    assert "15 USD left" in alerts.get().message
    prepaid.pay_back(balance, amount_usd=Decimal(6), reason="back")
    prepaid.notify_low()
    assert {alert.threshold for alert in alerts.all()} == {20, 10}
    prepaid.add(balance, amount_usd=Decimal(1), reason="invoice 2")
    prepaid.notify_low()
    assert alerts.count() == 4  # of both again: it is news


def test_concurrent_callers_and_bookings_never_bring_it_below_zero(
    make_account: MakeAccount, tests_database_url: str
) -> None:
    """Three processes call, while others add, expire and pay back; somebody outside looks all the time."""
    account = make_account()
    balance = balance_of(account, "0.3")
    order = {"accounts": [{"id": account.tenant_id, "slug": account.slug}], "workers": 8, "rounds": 20}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.billing.ledger.caller", json.dumps(order)],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": tests_database_url},
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    look = (
        "SELECT b.limit_amount - (SELECT sum(w.spent + w.held) FROM billing_budgetwindow w WHERE w.budget_id = b.id)"
        " FROM billing_budget b WHERE b.id = %s"
    )
    counts: Counter[str] = Counter()
    lowest, bookings = Decimal(1), 0
    try:
        with psycopg.connect(tests_database_url, autocommit=True) as watch:
            while any(process.poll() is None for process in processes):
                for _ in range(5):
                    row = watch.execute(look, [balance.pk], prepare=True).fetchone()
                    assert row is not None
                    lowest = min(lowest, row[0])
                if any(process.poll() is not None for process in processes) or bookings > 400:
                    continue
                bookings += 1
                soon = now() + timedelta(milliseconds=50)
                prepaid.add(
                    balance, amount_usd=Decimal("0.007"), reason="more", kind="grant", expires_at=soon
                )
                prepaid.expire_due()
                try:
                    prepaid.pay_back(balance, amount_usd=Decimal("0.004"), reason="less")
                except ValidationError:
                    counts["not paid back"] += 1
        for process in processes:
            output, _ = process.communicate()
            assert process.returncode == 0
            counts.update(json.loads(output.splitlines()[-1])[account.slug])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert lowest >= 0
    assert lowest < Decimal("0.05"), "it was never nearly empty"
    assert counts["refused"] > 0
    assert counts["admitted"] > 0
    assert bookings > 10
    state = prepaid.states_of([balance])[balance.pk]
    billed = sum(UsageRecord.objects.filter(tenant=account.tenant_id).values_list("billed_cost", flat=True))
    assert (state.held, state.spent) == (0, billed)
    assert state.added == sum(balance.entries.values_list("amount_usd", flat=True))
    assert sum(part.left_usd for part in prepaid.parts_of(balance)) == state.left
    assert BudgetWindow.objects.get(budget=balance.pk).overrun == 0


def test_a_balance_stands_in_the_configuration_file(make_account: MakeAccount) -> None:
    from llm.configuration import ConfigurationError, apply_configuration

    account = make_account()
    text = f"""
tenants:
  - slug: {account.slug}
    prepaid:
      alert_below_usd: [20]
      additions:
        - {{name: invoice 7, usd: "500", expires: 2099-12-31}}
        - {{name: welcome, usd: "5", kind: grant}}
"""
    for expected in ("created", "unchanged"):
        changes = apply_configuration(text, source="prepaid.yaml", environ={})
        kinds = ("prepaid balance", "addition")
        assert {change.action for change in changes.changes if change.kind in kinds} == {expected}
    balance = PrepaidBalance.objects.get(tenant=account.tenant_id)
    assert prepaid.states_of([balance])[balance.pk].added == 505
    apply_configuration(text.replace("[20]", "[30, 10]"), source="prepaid.yaml", environ={})
    balance.refresh_from_db()
    assert balance.alert_below_usd == [30, 10]
    with pytest.raises(ConfigurationError, match=r"prepaid\.yaml:7.*never edited"):
        apply_configuration(text.replace("500", "600"), source="prepaid.yaml", environ={})
