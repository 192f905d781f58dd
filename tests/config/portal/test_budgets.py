"""Budgets in the portal: what limits a person, a raise asked for and answered, and an owner's changes."""

from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils.timezone import now

from billing.budgets.windows import span
from billing.models import Budget, BudgetRaise, BudgetWindow, RaiseRequest
from tenants.models import Tenant
from tests.config.portal.conftest import House


def limit(tenant: Tenant, scope: str = "user", value: str = "", **fields: Any) -> Budget:
    values = {"unit": "usd", "period": "day", "limit_amount": Decimal(5)} | fields
    return Budget.objects.create(tenant=tenant, scope=scope, value=value, **values)


def spend(budget: Budget, subject: str, spent: str) -> None:
    starts_at, ends_at = span(budget.period, at=now(), timezone=budget.tenant.timezone)
    BudgetWindow.objects.create(
        budget=budget, tenant=budget.tenant, subject=subject, unit=budget.unit, starts_at=starts_at, ends_at=ends_at, spent=spent
    )  # fmt: skip


def ask(client: Client, house: House, budget: Budget, **changed: Any) -> Any:
    until = now().astimezone(UTC) + timedelta(hours=5)
    form = {"extra_amount": "2", "ends_at": f"{until:%Y-%m-%dT%H:%M}", "reason": "the launch"}
    return client.post(house.at(f"budgets/{budget.pk}/raise/"), form | changed)


def test_it_works(house: House) -> None:
    budget = limit(house.acme)
    spend(budget, "bob", "4")
    spend(budget, "alice", "1.5")
    page = house.client(house.bob).get(house.at("budgets/")).text
    assert "You, per day" in page
    assert "80.0 %" in page
    assert "1.50 USD" not in page  # what alice spent


def test_budgets_of_others_do_not_exist(house: House) -> None:
    hers, foreign = limit(house.acme, value="alice"), limit(house.umbrella, value="bob")
    bob = house.client(house.bob)
    for budget in (hers, foreign):
        for verb in ("", "raise/"):
            assert bob.get(house.at(f"budgets/{budget.pk}/{verb}")).status_code == 404
        assert ask(bob, house, budget).status_code == 404
        assert bob.post(house.at(f"budgets/{budget.pk}/change/"), {"end": "1"}).status_code == 403
    assert house.client(house.alice).get(house.at(f"budgets/{foreign.pk}/")).status_code == 404
    assert not RaiseRequest.objects.exists()


def test_a_raise_is_asked_for_granted_and_seen(house: House) -> None:
    budget = limit(house.acme)
    spend(budget, "bob", "5")
    bob, alice = house.client(house.bob), house.client(house.alice)
    answer = ask(bob, house, budget)
    asked = RaiseRequest.objects.get()
    assert answer.headers["location"] == house.at(f"raises/{asked.pk}/")
    assert (asked.requested_by, asked.end_user, asked.extra_amount) == (house.bob, "bob", Decimal(2))
    assert "waiting for a decision" in bob.get(house.at("budgets/")).text
    assert "Grant it" not in bob.get(house.at(f"raises/{asked.pk}/")).text
    assert bob.post(house.at(f"raises/{asked.pk}/decide/"), {"verdict": "grant"}).status_code == 403
    assert "Grant it" in alice.get(house.at(f"raises/{asked.pk}/")).text
    alice.post(house.at(f"raises/{asked.pk}/decide/"), {"verdict": "grant", "reason": "go ahead"})
    raised = BudgetRaise.objects.get()
    assert (raised.budget, raised.approved_by) == (budget, house.alice)
    page = bob.get(house.at(f"raises/{asked.pk}/")).text
    assert "granted" in page
    assert "go ahead" in page
    assert "7.00 USD" in bob.get(house.at("budgets/")).text


def test_a_refusal_needs_a_reason(house: House) -> None:
    budget = limit(house.acme)
    ask(house.client(house.bob), house, budget)
    asked, alice = RaiseRequest.objects.get(), house.client(house.alice)
    alice.post(house.at(f"raises/{asked.pk}/decide/"), {"verdict": "refuse"})
    asked.refresh_from_db()
    assert asked.state == "pending"
    alice.post(house.at(f"raises/{asked.pk}/decide/"), {"verdict": "refuse", "reason": "wait for December"})
    asked.refresh_from_db()
    assert asked.state == "refused"
    assert "wait for December" in house.client(house.bob).get(house.at(f"raises/{asked.pk}/")).text


def test_what_the_platform_set_its_owners_neither_change_nor_raise(house: House) -> None:
    budget = limit(house.acme, "tenant", set_by="platform")
    alice = house.client(house.alice)
    ask(house.client(house.bob), house, budget)
    asked = RaiseRequest.objects.get()
    assert alice.post(house.at(f"raises/{asked.pk}/decide/"), {"verdict": "grant"}).status_code == 403
    assert (
        alice.post(
            house.at(f"budgets/{budget.pk}/change/"), {"limit_amount": "99", "mode": "hard"}
        ).status_code
        == 403
    )
    assert "operators decide" in alice.get(house.at(f"raises/{asked.pk}/")).text


@pytest.mark.parametrize(
    "wrong",
    [{"extra_amount": "0"}, {"extra_amount": "1e40"}, {"extra_amount": "NaN"}, {"ends_at": "2020-01-01T00:00"}, {"reason": ""},
     {"reason": "x" * 301}],
)  # fmt: skip
def test_a_wrong_wish_asks_for_nothing(house: House, wrong: dict[str, str]) -> None:
    assert ask(house.client(house.bob), house, limit(house.acme), **wrong).status_code == 200
    assert not RaiseRequest.objects.exists()


def test_one_person_does_not_fill_the_list_of_requests(house: House) -> None:
    budget, bob = limit(house.acme, "tenant"), house.client(house.bob)
    for _ in range(3):
        ask(bob, house, budget)
    assert "wait for a decision already" in ask(bob, house, budget).text
    assert ask(house.client(house.alice), house, budget).status_code == 302


def test_an_owner_sets_changes_and_ends_a_budget(house: House) -> None:
    alice = house.client(house.alice)
    form = {
        "scope": "feature",
        "value": "search",
        "limit_amount": "100",
        "unit": "usd",
        "period": "month",
        "mode": "hard",
        "alert_at": "50, 80",
    }
    alice.post(house.at("budgets/new/"), form)
    budget = Budget.objects.get(tenant=house.acme, scope="feature")
    assert (budget.value, budget.limit_amount, budget.alert_at, budget.set_by) == (
        "search",
        100,
        [50, 80],
        "tenant",
    )
    assert budget.history.latest().history_user == house.alice
    assert "There is such a budget" in alice.post(house.at("budgets/new/"), form).text
    alice.post(house.at(f"budgets/{budget.pk}/change/"), {"limit_amount": "80", "mode": "soft"})
    budget.refresh_from_db()
    assert (budget.limit_amount, budget.mode, budget.alert_at) == (80, "soft", [50, 80])
    alice.post(house.at(f"budgets/{budget.pk}/change/"), {"end": "1"})
    budget.refresh_from_db()
    assert not budget.is_active


def test_finance_reads_budgets_and_changes_none(house: House) -> None:
    budget, fay = limit(house.acme, "tenant"), house.client(house.fay)
    assert "All budgets" in fay.get(house.at("budgets/")).text
    page = fay.get(house.at(f"budgets/{budget.pk}/")).text
    assert "Change the limit" not in page
    assert fay.get(house.at("budgets/new/")).status_code == 403
    assert (
        fay.post(house.at(f"budgets/{budget.pk}/change/"), {"limit_amount": "9", "mode": "hard"}).status_code
        == 403
    )
