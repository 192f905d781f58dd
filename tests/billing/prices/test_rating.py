"""Meters to exact USD."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.prices.book import SURCHARGE, Price, PriceBook, rates_of
from billing.prices.rating import Rated, rate

MONEY = st.decimals("0", "1000", places=9)
QUANTITY = st.integers(0, 10**9)


def price(meter: str, usd: str, **options: object) -> Price:
    return Price(meter, Decimal(usd), **options)  # type: ignore[arg-type]


def test_it_works() -> None:
    rates = rates_of([price("input", "2.5"), price("output", "10")], provider="openai", model="gpt-4o")
    rated = rate({"input": 1000, "output": 500}, rates)
    assert rated.cost_usd == Decimal("0.0075")
    assert [line.meter for line in rated.lines] == ["input", "output"]


@given(unit=MONEY, parts=st.lists(QUANTITY, min_size=1, max_size=20))
def test_the_total_is_the_sum_of_the_lines(unit: Decimal, parts: list[int]) -> None:
    meters = {f"input_{number}": quantity for number, quantity in enumerate(parts)}
    rates = rates_of([Price(meter, unit) for meter in meters], provider="p", model="m")
    rated = rate(meters, rates)
    assert rated.cost_usd == sum((line.cost_usd for line in rated.lines), start=Decimal(0))
    assert all(line.cost_usd.as_tuple().exponent == -12 for line in rated.lines)


@given(unit=st.decimals("0", "1000", places=6), parts=st.lists(QUANTITY, min_size=1, max_size=50))
def test_splitting_requests_never_changes_the_sum(unit: Decimal, parts: list[int]) -> None:
    """Prices per million with six places are exact at twelve: no line is rounded."""
    rates = rates_of([Price("input", unit)], provider="p", model="m")
    whole = rate({"input": sum(parts)}, rates).cost_usd
    assert whole == sum((rate({"input": part}, rates).cost_usd for part in parts), start=Decimal(0))


@given(unit=MONEY, smaller=QUANTITY, more=QUANTITY)
def test_more_tokens_never_cost_less(unit: Decimal, smaller: int, more: int) -> None:
    rates = rates_of([Price("output", unit)], provider="p", model="m")
    assert rate({"output": smaller}, rates).cost_usd <= rate({"output": smaller + more}, rates).cost_usd


def test_a_half_is_rounded_to_even() -> None:
    rates = rates_of([price("input", "0.000000001", per=2000)], provider="p", model="m")
    assert rate({"input": 1}, rates).cost_usd == Decimal("0E-12")
    assert rate({"input": 3}, rates).cost_usd == Decimal("2E-12")


def test_a_threshold_is_a_cliff_over_all_input_and_strict() -> None:
    rows = [price("input", "3"), price("input", "6", above_input_tokens=200_000)]
    rows += [price("cache_read", "0.3"), price("output", "15")]
    rates = rates_of(rows, provider="p", model="m")
    at_the_edge = rate({"input": 100_000, "cache_read": 100_000}, rates)
    above = rate({"input": 100_000, "cache_read": 100_001}, rates)
    assert at_the_edge.lines[0].unit_price == 3
    assert above.lines[0].unit_price == 6
    assert above.lines[1].unit_price == Decimal("0.3")


def test_a_meter_without_a_price_is_an_error_and_none_when_unused() -> None:
    rates = rates_of([price("input", "1")], provider="p", model="m")
    with pytest.raises(UnpricedMeter):
        rate({"input": 1, "output": 1}, rates)
    assert rate({"input": 1, "output": 0}, rates).cost_usd == Decimal("0.000001")


def test_the_surcharge_is_for_token_meters_only() -> None:
    rows = [price("input", "5"), price("web_search", "10", per=1000), price(SURCHARGE, "1.1", per=1)]
    rated = rate({"input": 1_000_000, "web_search": 1000}, rates_of(rows, provider="p", model="m"))
    assert [line.cost_usd for line in rated.lines] == [Decimal("5.5"), Decimal(10)]


def test_a_contract_is_what_the_tenant_pays_and_our_cost_what_we_pay() -> None:
    rows = [price("input", "10"), price("input", "8", book="contract"), price("input", "5", book="cost")]
    rated = rate({"input": 1_000_000}, rates_of(rows, provider="p", model="m"))
    assert (rated.list_cost_usd, rated.cost_usd, rated.provider_cost_usd) == (10, 8, 5)


def test_a_batch_keeps_the_online_price_of_what_it_does_not_mention() -> None:
    rows = [price("input", "2"), price("cache_read", "1"), price("web_search", "10", per=1000)]
    rows += [price("input", "1", processing="batch")]
    rates = rates_of(rows, provider="p", model="m", processing="batch")
    rated = rate({"input": 1_000_000, "cache_read": 1_000_000, "web_search": 1000}, rates)
    assert [line.cost_usd for line in rated.lines] == [1, 1, 10]


def test_priority_is_never_sold_at_the_online_price() -> None:
    rows = [price("input", "2"), price("cache_read", "1"), price("input", "4", processing="priority")]
    rates = rates_of(rows, provider="p", model="m", processing="priority")
    with pytest.raises(UnpricedMeter):
        rate({"cache_read": 1}, rates)
    with pytest.raises(ModelUnpriced):
        rates_of(rows, provider="p", model="m", processing="flex")


def test_a_price_counts_from_its_first_instant_to_before_its_last() -> None:
    change = datetime(2025, 6, 10, tzinfo=UTC)
    rows = (price("input", "10", valid_to=change), price("input", "2", valid_from=change))
    book = PriceBook({("openai", "o3"): rows})
    for at, usd in (
        (change.replace(day=9, hour=23, minute=59, second=59), 10),
        (change, 2),
        (change.replace(day=11), 2),
    ):
        assert rate({"input": 1_000_000}, book.rates("openai", "o3", at=at)).cost_usd == usd


def test_an_unknown_model_is_unpriced_and_a_prefix_is_no_name() -> None:
    book = PriceBook({("anthropic", "claude-haiku-4-5"): (price("input", "1"),)})
    with pytest.raises(ModelUnpriced):
        book.rates("anthropic", "claude-haiku-4-5-my-finetune", at=datetime.now(UTC))


def test_a_lump_is_the_whole_hold_and_says_that_it_is_unpriced() -> None:
    assert Rated.lump(Decimal("0.5")).is_lump
    assert Rated.bound(Decimal("0.5")).lines[0].cost_usd == Decimal("0.5")
