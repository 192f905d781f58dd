"""The waterfall from list cost to what is paid."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.prices.book import Price, Rates, rates_of
from billing.prices.savings import uncached, waterfall

PRICE = st.decimals("0", "100", places=6)
COUNT = st.integers(0, 100_000)
METERS = ("input", "cache_read", "cache_write_5m", "output")


def rates(
    prices: list[Decimal], *, contract: list[Decimal] | None = None, processing: str = "online"
) -> Rates:
    rows = [Price(meter, usd, processing=processing) for meter, usd in zip(METERS, prices, strict=True)]
    rows += [
        Price(meter, usd, processing=processing, book="contract")
        for meter, usd in zip(METERS, contract or [], strict=False)
    ]
    return rates_of(rows, provider="p", model="m", processing=processing)


def test_it_works() -> None:
    paid = rates([Decimal(1), Decimal("0.1"), Decimal("1.25"), Decimal(5)])
    steps = waterfall({"input": 100, "cache_read": 1_000_000}, paid=paid).steps
    assert steps == {"provider_cache": Decimal("0.9")}


@given(
    counts=st.lists(COUNT, min_size=4, max_size=4),
    paid=st.lists(PRICE, min_size=4, max_size=4),
    contract=st.lists(PRICE, min_size=4, max_size=4),
    online=st.lists(PRICE, min_size=4, max_size=4),
    asked=st.lists(PRICE, min_size=4, max_size=4),
    removed=COUNT,
)
def test_the_signed_steps_add_up_to_the_last_digit(
    counts: list[int],
    paid: list[Decimal],
    contract: list[Decimal],
    online: list[Decimal],
    asked: list[Decimal],
    removed: int,
) -> None:
    fall = waterfall(
        dict(zip(METERS, counts, strict=True)),
        paid=rates(paid, contract=contract, processing="batch"),
        online=rates(online),
        asked=rates(asked),
        removed_input_tokens=removed,
    )
    assert fall.list_cost_usd - sum(fall.steps.values(), start=Decimal(0)) == fall.paid_usd


def test_a_cache_that_is_written_and_never_read_costs() -> None:
    paid = rates([Decimal(1), Decimal("0.1"), Decimal("1.25"), Decimal(5)])
    assert waterfall({"cache_write_5m": 1_000_000}, paid=paid).steps == {"provider_cache": Decimal("-0.25")}


def test_a_step_that_has_no_price_saves_nothing() -> None:
    paid = rates([Decimal(1), Decimal("0.1"), Decimal("1.25"), Decimal(5)])
    other = rates_of([Price("input", Decimal(9))], provider="p", model="big")
    fall = waterfall({"input": 1000, "output": 10}, paid=paid, asked=other)
    assert fall.steps == {}
    assert fall.list_cost_usd == fall.paid_usd


def test_what_was_cached_becomes_plain_input() -> None:
    assert uncached({"input": 1, "cache_read": 2, "cache_write_1h": 3, "output": 4}) == {
        "input": 6,
        "output": 4,
    }
