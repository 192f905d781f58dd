"""Turns the ledger's exact USD into the amounts that a statement prints.

Invariant: pure. The currency is applied once and each printed line is rounded once, half up; the total is the
exact sum, rounded, and the difference between it and the printed lines is a line of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from iso4217 import Currency

from billing.money import EXACT

# digits after the point; gold, test codes and the like have none of their own
_DIGITS: Final = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
_USUAL_DIGITS: Final = 2


@dataclass(frozen=True, slots=True)
class PrintedAmounts:
    """A statement's column: `sum(lines) + rounding == total`."""

    lines: tuple[Decimal, ...]
    rounding: Decimal
    total: Decimal


def print_amounts(
    exact_usd: Sequence[Decimal], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> PrintedAmounts:
    """Convert and round exact amounts for a statement. `fx_rate` is the currency's units for one USD, frozen."""
    exact = [EXACT.multiply(amount, fx_rate) for amount in exact_usd]
    lines = tuple(round_to_currency(amount, currency) for amount in exact)
    total = round_to_currency(sum(exact, start=Decimal(0)), currency)
    return PrintedAmounts(lines, total - sum(lines, start=Decimal(0)), total)


def round_to_currency(amount: Decimal, currency: str) -> Decimal:
    """Half up at the currency's own number of digits (ISO 4217's minor unit)."""
    places = Decimal(1).scaleb(-_DIGITS.get(currency.upper(), _USUAL_DIGITS))
    return amount.quantize(places, rounding=ROUND_HALF_UP, context=EXACT)
