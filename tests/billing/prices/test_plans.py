"""What a tenant pays for what the list says, and what a statement prints."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.months.amounts import print_amounts
from billing.prices.plans import RateRule, RuleKind, unit_price_of
from billing.reconciliation.provider_reports import (
    InvalidReport,
    anthropic_amount_usd,
    openai_amount_usd,
    parse_json,
)


def test_it_works() -> None:
    rules = [RateRule(RuleKind.MARKUP, Decimal(10))]
    assert unit_price_of(Decimal("2.5"), rules, meter="input") == Decimal("2.75")


def test_the_first_rule_that_fits_counts_and_no_other() -> None:
    rules = [
        RateRule(RuleKind.FIXED, Decimal(8), meter="output"),
        RateRule(RuleKind.AS_LISTED, model="gpt-4o"),
        RateRule(RuleKind.DISCOUNT, Decimal(50)),
    ]
    assert unit_price_of(Decimal(10), rules, meter="output") == 8
    assert unit_price_of(Decimal(10), rules, meter="input", model="gpt-4o") == 10
    assert unit_price_of(Decimal(10), rules, meter="input", model="o3") == 5
    assert unit_price_of(Decimal(10), [], meter="input") == 10


@given(st.lists(st.decimals("0", "1000", places=12), max_size=40), st.sampled_from(("USD", "JPY", "KWD")))
def test_printed_lines_and_their_rounding_make_the_total(amounts: list[Decimal], currency: str) -> None:
    printed = print_amounts(amounts, currency=currency, fx_rate=Decimal("1.0837"))
    assert sum(printed.lines, start=Decimal(0)) + printed.rounding == printed.total


def test_amounts_of_cost_reports_stay_exact() -> None:
    assert openai_amount_usd(
        parse_json('{"amount": {"value": 0.1234567890123456789, "currency": "usd"}}')
    ) == Decimal("0.1234567890123456789")
    assert anthropic_amount_usd({"amount": "123.45", "currency": "USD"}) == Decimal("1.2345")
    for row in ({"amount": "x"}, {"amount": "NaN"}, {"amount": "1", "currency": "EUR"}):
        with pytest.raises(InvalidReport):
            anthropic_amount_usd(row)
