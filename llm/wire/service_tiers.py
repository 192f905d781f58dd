"""How a provider works on a call, as far as its hold depends on it: online, flex or priority.

Invariant: pure. A call is held at the highest rates that it may be served at: of what it asks for, and of every region that its
model has a price for. What was served decides the bill: `billing.usage.served`.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final

from billing.prices.book import PriceBook, Rates
from billing.usage.served import contexts, processing_asked

__all__ = ["highest_of", "processing_of"]

processing_of = processing_asked
# `auto` leaves the tier to the account, which may have the dear one
_LEFT_TO_THE_ACCOUNT: Final = {"auto": frozenset({"priority"})}


def highest_of(
    book: PriceBook, asked: Rates, *, at: datetime, service_tier: str, hold: Callable[[Rates], Decimal]
) -> Rates:
    """The rates under which a call's hold is the largest."""
    processings = _LEFT_TO_THE_ACCOUNT.get(service_tier, frozenset())
    rates = list(contexts(book, asked, at=at, processings=processings))
    return max(rates, key=hold) if len(rates) > 1 else asked
