"""What tabs of planning are made of: whose figures are asked for, and the sections that come back.

Invariant: data only; `templates/admin/planning.html` shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from billing.admin.figures import usd
from billing.planning.forecasts import Forecast
from tenants.models import Tenant

THOUSAND, MILLION = 1_000, 1_000_000
WHOLE_CENTS: Final = Decimal("0.01")


@dataclass(frozen=True)
class Chosen:
    """Whose figures: one tenant's, or those of all that this person may see."""

    tenant: Tenant | None
    tenant_ids: Sequence[int]
    is_operator: bool
    at: datetime


@dataclass(frozen=True)
class Part:
    """A section: a sentence, cards and a table."""

    title: str
    text: str = ""
    cards: Sequence[dict[str, Any]] = field(default_factory=list)
    table: dict[str, Any] | None = None


def span_of(forecast: Forecast, unit: str = "usd") -> str:
    """An interval as "$210 to $260", or that too little is known."""
    if not forecast.is_known:
        return "too little history"
    low, high = said(forecast.low, unit), said(forecast.high, unit)
    return low if low == high else f"{low} to {high}"


def budget_name(scope: str, subject: str, unit: str, period: str) -> str:
    """As "feature invoices, USD per month"."""
    whose = f"{scope.replace('_', ' ')} {subject}".strip()
    measured = "USD" if unit == "usd" else unit
    return f"{whose}, {measured} in total" if period == "total" else f"{whose}, {measured} per {period}"


def said(amount: Decimal, unit: str = "usd") -> str:
    """An amount of a forecast: no more digits than it deserves."""
    if unit == "usd":
        return usd(amount.quantize(WHOLE_CENTS)) if amount >= 1 else usd(amount)
    for size, letter in ((MILLION, " M"), (THOUSAND, " k")):
        if abs(amount) >= 10 * size:
            return f"{amount / size:,.1f}{letter}"
    return f"{amount:,.0f}"
