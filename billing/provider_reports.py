"""Reads the amounts of the providers' own cost reports.

Invariant: pure and exact. OpenAI tells dollars as a JSON number, Anthropic cents as a decimal string; a number
must be parsed as Decimal (`parse_json`), never as a float.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

CENTS = Decimal(100)


class InvalidReport(ValueError):
    """A cost report does not look like the provider's."""


def parse_json(text: str | bytes) -> Any:
    """JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal)


def openai_amount_usd(row: Mapping[str, Any]) -> Decimal:
    """The dollars of a row of `/organization/costs`."""
    amount = row["amount"]
    return _exact(amount["value"], amount.get("currency"))


def anthropic_amount_usd(row: Mapping[str, Any]) -> Decimal:
    """The dollars of a row of `/organizations/cost_report`, which tells cents."""
    return _exact(row["amount"], row.get("currency")) / CENTS


def _exact(value: object, currency: object) -> Decimal:
    if str(currency or "usd").lower() != "usd":
        raise InvalidReport(f"the report is in {currency}, not in USD")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise InvalidReport(f"{value!r} is no amount") from None
    if not amount.is_finite():
        raise InvalidReport(f"{value!r} is no amount")
    return amount
