"""From the ledger's exact USD to the amounts a statement prints.

Invariant: pure. The currency is applied once and each printed line is rounded once, half up; the total is the
exact sum, rounded, and what the printed lines lack or exceed it by stands as a line of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from billing.money import EXACT

# Digits after the point where they are not two (ISO 4217).
EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND"), 0),
    **dict.fromkeys(("VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


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
    """Half up at the currency's own number of digits."""
    places = Decimal(1).scaleb(-EXPONENTS.get(currency.upper(), 2))
    return amount.quantize(places, rounding=ROUND_HALF_UP, context=EXACT)
