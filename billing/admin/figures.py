"""How amounts look on a page: short enough to read, never rounded to nothing.

Invariant: display only. Calculations, exports and comparisons use the exact Decimal.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from django import forms
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import now
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.months.parts import Sure
from config.site.cells import json_block as json_block

CENT = Decimal("0.01")


def usd(amount: Decimal | None) -> str:
    """Return "$1,234.50", or for less than a dollar four significant digits: "$0.5000", "$0.0001234"."""
    if amount is None:
        return "–"
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size == 0 or size >= 1:
        return f"{sign}${size.quantize(CENT, ROUND_HALF_EVEN):,}"
    places = Decimal(1).scaleb(size.adjusted() - 3)
    return f"{sign}${size.quantize(places, ROUND_HALF_EVEN):f}"


def amount_of(unit: str, amount: Decimal | None) -> str:
    """Return an amount of a budget's unit: USD as money, tokens and requests as whole numbers."""
    if amount is None:
        return "–"
    return usd(amount) if unit == "usd" else f"{amount.normalize():,f}"


def plain(amount: Decimal) -> str:
    """Return an amount without the zeros that its column adds: "5", "0.02"."""
    return f"{amount.normalize():f}"


def count(number: int | None) -> str:
    """Return "1,234,567"."""
    return "–" if number is None else f"{number:,}"


def percent(part: Decimal | int, whole: Decimal | int) -> str:
    """Return "81.3 %"; of nothing, a dash."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def exact_usd(amount: Decimal | None) -> SafeString | str:
    """Return the short amount with the exact one as its tooltip."""
    if amount is None:
        return "–"
    return format_html('<span class="p-figure" title="{} USD">{}</span>', f"{amount:f}", usd(amount))


class MomentField(forms.DateTimeField):
    """A moment in UTC, picked with the browser's own calendar."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
        super().__init__(
            **{"widget": widget, "input_formats": ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], **options}
        )


def sure_table(known: Iterable[Sure]) -> dict[str, Any]:
    """How much of a sum is known how, with its bounds, as a table."""
    rows = [
        [one.certainty.capitalize(), one.records, one.amount_usd, one.least_usd, one.most_usd]
        for one in known
    ]
    return {"headers": ["Known", "Ledger rows", "USD", "At least, USD", "At most, USD"], "rows": rows}


def utc_today() -> datetime:
    """Return the first moment of today, UTC: the day the rollups count in."""
    return now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
