"""Exact arithmetic: the one context and the number of places in which money is calculated, and how amounts are written.

Invariant: 60 digits, half-even. A line of the ledger has 12 places, a unit price 9.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
TWELVE_PLACES: Final = Decimal("1e-12")
NINE_PLACES: Final = Decimal("1e-9")


def plain(amount: Decimal) -> str:
    """An amount without trailing zeros or exponent."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
