"""A timeline: what happened, when, how it went and why. The receipt of a request is one; others are made the same way.

Invariant: display only. Facts have their unit, which the name of each says (`_usd`, `_ms`, `_tokens`, `_seconds`, `_percent`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from config.site import cells

UNITS: Final = {
    "_usd": "USD",
    "_ms": "ms",
    "_seconds": "s",
    "_percent": "%",
    "_tokens": "tokens",
    "_bytes": "bytes",
}
MOST_LISTED: Final = 12


@dataclass(frozen=True)
class Happening:
    """One entry. `state` colours its dot: well, warning, alarm, or empty; `at` is as people read it."""

    title: str
    outcome: str = ""
    state: str = ""
    at: str = ""
    why: str = ""
    facts: list[tuple[str, Any]] = field(default_factory=list)
    table: dict[str, Any] | None = None


def facts_of(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values for reading: those that are empty are left out."""
    return [
        (in_words(name), for_reading(name, value))
        for name, value in values.items()
        if value not in (None, "", [], {})
    ]


def in_words(name: str) -> str:
    """A name without its unit, in words: `hold_usd` is "Hold"."""
    for ending in UNITS:
        if name.endswith(ending) and ending not in ("_tokens",):
            name = name[: -len(ending)]
    return name.replace("_", " ").capitalize()


def for_reading(name: str, value: Any) -> Any:
    """A value with its unit; a moment with its zone; a list and a mapping in one line."""
    if isinstance(value, SafeString):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_at") and isinstance(value, str):
        try:
            return cells.moment(datetime.fromisoformat(value))
        except ValueError:
            return value
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key.replace('_', ' ')} {for_reading(key, one)}"
            for key, one in list(value.items())[:MOST_LISTED]
        )
    if isinstance(value, list | tuple):
        shown = [for_reading("", one) for one in value[:MOST_LISTED]]
        return format_html_join(", ", "{}", ((one,) for one in shown)) if shown else ""
    unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")
    number = number_of(value) if unit or not isinstance(value, str) else None
    text = str(value) if number is None else f"{number:,f}"
    return f"{text} {unit}".strip() if unit else text


def number_of(value: Any) -> Decimal | None:
    """A number as it was written, without the zeros of its column; None for what is no number."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    return number.quantize(Decimal(1)) if number == number.to_integral_value() else number.normalize()
