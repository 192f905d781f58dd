"""What a tenant reads of its own sums: by time or as its statement has them, and how sure they are."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.api.conftest import ask
from tests.books import Books
from tests.world import World


def test_it_works(world: World, books: Books) -> None:
    ask(world.openai(), user="alice")
    books.settled(world.acme.id, count=1)
    by_time, by_statement = (
        usage(world, f"month={this_month()}&basis={basis}") for basis in ("time", "statement")
    )
    assert by_time["total"] == by_statement["total"]
    assert by_time["total"]["requests"] == by_time["total"]["calls"] == 1
    assert (by_time["basis"], by_statement["basis"]) == ("time", "statement")
    (period,) = by_statement["periods"]
    assert (period["month"], period["status"]) == (this_month(), "open")
    parts = {name: Decimal(amount) for name, amount in by_statement["reconciliation"].items()}
    assert (
        parts["by_time_usd"] - parts["booked_later_usd"] + parts["of_earlier_months_usd"]
        == parts["booked_usd"]
    )
    assert parts["booked_usd"] == Decimal(by_statement["total"]["cost_usd"]) > 0


def test_a_sum_says_how_sure_it_is_and_between_which_bounds(world: World, books: Books) -> None:
    ask(world.openai(), user="alice")
    books.settled(world.acme.id, count=1)
    total = {name: Decimal(amount) for name, amount in usage(world, "")["total"].items()}
    assert total["cost_usd"] == total["exact_usd"] == total["least_usd"] == total["most_usd"] > 0
    assert total["list_cost_usd"] - total["saved_usd"] == total["cost_usd"]


def test_a_credit_is_no_list_price_and_no_saving(world: World, books: Books) -> None:
    from billing.ledger.corrections import credit
    from tenants.models import Tenant

    ask(world.openai(), user="alice")
    books.settled(world.acme.id, count=1)
    before = usage(world, "group_by=day")["total"]
    tenant = Tenant.objects.get(pk=world.acme.id)
    credit(tenant, amount_usd=Decimal(5), reason="goodwill")
    after = usage(world, "group_by=day")["total"]
    for name in ("requests", "list_cost_usd", "saved_usd"):
        assert after[name] == before[name], name
    assert Decimal(after["cost_usd"]) == Decimal(before["cost_usd"]) - 5
    assert Decimal(after["credits_usd"]) == -5


def test_months_of_days_are_those_that_the_days_lie_in(world: World, books: Books) -> None:
    ask(world.openai(), user="alice")
    books.settled(world.acme.id, count=1)
    whole = usage(world, "basis=statement")
    assert [period["month"] for period in whole["periods"]] == [this_month()]
    past = usage(world, "basis=statement&start=2020-01-01&end=2020-03-31")
    assert (past["periods"], past["data"], past["reconciliation"]) == ([], [], None)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("basis=invoice", "basis"),
        ("month=2026-13", "month"),
        ("month=november", "month"),
        ("month=0000-01", "month"),
        ("month=2026-11&start=2026-11-01", "month"),
    ],
)
def test_a_wrong_question_is_refused(world: World, query: str, param: str) -> None:
    status, body = world.get(f"/v1/usage?{query}")
    assert (status, body["error"]["param"]) == (400, param)


def usage(world: World, query: str) -> dict[str, Any]:
    status, body = world.get(f"/v1/usage?{query}")
    assert status == 200
    return body


def this_month() -> str:
    return f"{datetime.now(UTC):%Y-%m}"
