"""How one value is written into a file that a spreadsheet will open.

Invariant: an amount is written exactly, never through a float, and no text cell can start a formula.
"""

from datetime import UTC, date, datetime
from decimal import Decimal

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def exact(amount: Decimal, *, places: int = 2) -> str:
    """Return an amount in full, without an exponent, with at least `places` digits after the point."""
    text = f"{amount:f}"
    if "." not in text:
        text += "."
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(places, '0')}"


def guarded(text: str) -> str:
    """Return text that a spreadsheet takes for text: what would start a formula gets a leading apostrophe."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text


def cell(value: object) -> str:
    """Return any value of a report as the text of one CSV cell."""
    match value:
        case None:
            return ""
        case Decimal():
            return exact(value)
        case datetime():
            return zulu(value)
        case bool():
            return "true" if value else "false"
        case int() | date():
            return str(value)
        case _:
            return guarded(str(value))


def zulu(moment: datetime) -> str:
    """Return a moment as FOCUS and finance systems read it: UTC, to the second, with a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
