"""Charts without scripts: columns and shares as SVG and CSS, each with its figures as text beside or behind it.

Invariant: display only; what a chart shows is also in its description, for who does not see it.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from billing.admin.figures import usd
from config.site import plots


def columns(days: Sequence[tuple[date, Decimal]], *, label: str) -> dict[str, Any]:
    """A column for each day, for `portal/columns.html`; heights in percent of the largest."""
    largest = max((amount for _, amount in days), default=Decimal(0))
    total = sum((amount for _, amount in days), start=Decimal(0))
    top_day = max(days, key=lambda one: one[1], default=None)
    said = f"{label}: {usd(total)} in {len(days)} days"
    if largest and top_day:
        said += f", most on {top_day[0]:%Y-%m-%d} with {usd(top_day[1])}"
    return {
        "label": said,
        "largest": usd(largest),
        "is_empty": not any(amount for _, amount in days),
        "columns": [
            {
                "percent": plots.column(amount, largest),
                "text": f"{day:%Y-%m-%d}: {usd(amount)}",
                "mark": f"{day:%b %-d}" if number % 7 == (len(days) - 1) % 7 else "",
            }
            for number, (day, amount) in enumerate(days)
        ],
    }
