"""Bounds before the call."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.budgets.balances import Balance
from billing.errors import UnpricedMeter
from billing.estimates.costs import affordable_output_tokens, expected_cost, hold_for
from billing.prices.book import Price, Rates, rates_of
from billing.prices.rating import rate

PRICE = st.decimals("0", "100", places=6)
COUNT = st.integers(0, 500_000)


def balance(limit: str, *, unit: str = "usd", spent: str = "0") -> Balance:
    amounts = Decimal(limit), Decimal(spent), Decimal(0)
    return Balance(1, "tenant", "", unit, "day", "hard", *amounts, datetime(2026, 12, 1, tzinfo=UTC))


def rates(**prices: str) -> Rates:
    return rates_of([Price(meter, Decimal(usd)) for meter, usd in prices.items()], provider="p", model="m")


def test_it_works() -> None:
    assert hold_for(rates(input="1", output="5"), input_tokens=1000, max_output_tokens=200, n=2) == Decimal(
        "0.003"
    )


@given(
    prices=st.lists(PRICE, min_size=8, max_size=8),
    counts=st.lists(COUNT, min_size=4, max_size=4),
    answers=st.lists(st.integers(0, 4000), min_size=1, max_size=5),
)
def test_a_hold_is_never_less_than_the_bill(
    prices: list[Decimal], counts: list[int], answers: list[int]
) -> None:
    meters = ("input", "cache_read", "cache_write", "output")
    rows = [Price(meter, usd) for meter, usd in zip(meters, prices, strict=False)]
    rows += [
        Price(meter, usd, above_input_tokens=200_000) for meter, usd in zip(meters, prices[4:], strict=False)
    ]
    known = rates_of(rows, provider="p", model="m")
    bill = rate(dict(zip(meters, [*counts[:3], sum(answers)], strict=True)), known).cost_usd
    hold = hold_for(known, input_tokens=sum(counts[:3]), max_output_tokens=max(answers), n=len(answers))
    assert bill <= hold


def test_embeddings_need_no_output_price() -> None:
    assert hold_for(rates(input="0.02"), input_tokens=100, max_output_tokens=0) == Decimal("0.000002")
    with pytest.raises(UnpricedMeter):
        hold_for(rates(input="0.02"), input_tokens=100, max_output_tokens=1)


def test_a_write_that_cannot_happen_is_not_held_for() -> None:
    known = rates(input="1", cache_write_1h="2", output="5")
    assert hold_for(known, input_tokens=1000, max_output_tokens=0) == Decimal("0.002")
    assert hold_for(known, input_tokens=1000, max_output_tokens=0, input_meters=("input",)) == Decimal(
        "0.001"
    )


@given(left=st.decimals("0", "1", places=6), n=st.integers(1, 4), read=st.integers(0, 20_000))
def test_what_is_affordable_fits_and_one_token_more_does_not(left: Decimal, n: int, read: int) -> None:
    known = rates(input="1", output="5")
    room = balance(str(left))
    limit = affordable_output_tokens(known, balance=room, input_tokens=read, n=n)
    if limit:
        assert hold_for(known, input_tokens=read, max_output_tokens=limit, n=n) <= left
    if left > hold_for(known, input_tokens=read, max_output_tokens=0):
        assert hold_for(known, input_tokens=read, max_output_tokens=limit + 1, n=n) > left


def test_a_token_budget_pays_input_first() -> None:
    known = rates(input="1", output="5")
    assert (
        affordable_output_tokens(known, balance=balance("1000", unit="tokens"), input_tokens=400, n=2) == 300
    )
    assert affordable_output_tokens(known, balance=balance("100", unit="tokens"), input_tokens=400) == 0
    assert affordable_output_tokens(known, balance=balance("1", spent="2"), input_tokens=1) == 0


def test_the_expected_cost_is_that_of_the_size() -> None:
    assert expected_cost(rates(input="1", output="5"), input_tokens=1000, output_tokens=100) == Decimal(
        "0.0015"
    )
