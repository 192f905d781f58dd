"""Turns the ledger's exact USD into the amounts that a statement prints.

Invariant: pure. The currency is applied once. What is owed is rounded once, half up, for the whole statement, and is divided
among the cost centres, and theirs among their lines, by the largest remainder: parts are never further than one unit from what is
exact, and always make their whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Final

from iso4217 import Currency

from billing.money import EXACT

# digits after the point; gold, test codes and the like have none of their own
_DIGITS: Final = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
_USUAL_DIGITS: Final = 2
_MORE_ON_LINES: Final = 4  # a line of cents has six places: calls cost less than a cent


@dataclass(frozen=True, slots=True)
class PrintedAmounts:
    """A column of which each line is rounded by itself: `sum(lines) + rounding == total`."""

    lines: tuple[Decimal, ...]
    rounding: Decimal
    total: Decimal


def print_amounts(
    exact_usd: Sequence[Decimal], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> PrintedAmounts:
    """Convert amounts, and round each by itself. `fx_rate` is the currency's units for one USD, frozen."""
    exact = [EXACT.multiply(amount, fx_rate) for amount in exact_usd]
    lines = tuple(round_to_currency(amount, currency) for amount in exact)
    total = round_to_currency(sum(exact, start=Decimal(0)), currency)
    return PrintedAmounts(lines, total - sum(lines, start=Decimal(0)), total)


def divide_owed(
    exact_usd: Mapping[str, Decimal], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> dict[str, Decimal]:
    """What each part owes in whole minor units; together they owe the rounded whole."""
    exact = [EXACT.multiply(amount, fx_rate) for amount in exact_usd.values()]
    total = round_to_currency(sum(exact, start=Decimal(0)), currency)
    return dict(zip(exact_usd, apportion(exact, total=total, unit=minor_unit(currency)), strict=True))


def line_digits(currency: str) -> int:
    """How many places the amounts of lines have: four more than the currency."""
    return -int(minor_unit(currency).as_tuple().exponent) + _MORE_ON_LINES


def apportion(exact: Sequence[Decimal], *, total: Decimal, unit: Decimal) -> list[Decimal]:
    """Round parts down to the unit, and give what the total has more to those with the largest remainders, first ones first.

    `total` is the sum of the parts, rounded to the unit in any direction.
    """
    parts = [amount.quantize(unit, rounding=ROUND_FLOOR, context=EXACT) for amount in exact]
    missing = int((total - sum(parts, start=Decimal(0))) / unit)
    by_remainder = sorted(range(len(parts)), key=lambda place: parts[place] - exact[place])
    for place in by_remainder[:missing]:
        parts[place] += unit
    return parts


def minor_unit(currency: str) -> Decimal:
    """ISO 4217's: 0.01 USD, 1 JPY."""
    return Decimal(1).scaleb(-_DIGITS.get(currency.upper(), _USUAL_DIGITS))


def round_to_currency(amount: Decimal, currency: str) -> Decimal:
    """Half up at the currency's own number of digits."""
    return amount.quantize(minor_unit(currency), rounding=ROUND_HALF_UP, context=EXACT)
