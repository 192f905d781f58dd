"""How one value is written into a file that a spreadsheet will open.

Invariant: an amount is written exactly, never through a float, and no text cell can start a formula, whatever separator the
spreadsheet splits at. Nothing is lost by that: different texts stay different, and the column UNGUARDED has, as JSON, the texts
of a row that had to be changed, as they are in the API.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache

UNGUARDED = "exact_texts"
# where a cell begins, for one or another spreadsheet: an apostrophe there makes a text of what follows
_FORMULA = re.compile(r"(^|[;,|\t\r\n])([ \"]*)(?='*[=+\-@\t\r\n＝＋－＠])")
# the same in a row of CSV whose cells are all quoted, or what only looks like it
_FORMULA_IN_ROW = re.compile(r"[\";,|\t\r\n '][=+\-@\t\r\n＝＋－＠]")
_JSON_FORMULA = re.compile(r"[=+\-@＝＋－＠]")


def exact(amount: Decimal, *, places: int = 2) -> str:
    """Return an amount in full, without an exponent, with at least `places` digits after the point."""
    text = str(amount)
    if "E" in text:
        text = f"{amount:f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(places, '0')}"


@lru_cache(maxsize=10_000)  # the labels of a file are few
def guarded(text: str) -> str:
    """Return text that a spreadsheet takes for text: an apostrophe stands before what would start a formula."""
    return _FORMULA.sub(r"\1\2'", text)


def is_plain(row: str) -> bool:
    """Return whether `guarded` would change no text of a row of CSV whose cells are all quoted. False where it might."""
    return _FORMULA_IN_ROW.search(row) is None


def exact_texts(values: Mapping[str, object]) -> str:
    """Return the texts that `guarded` changes as a JSON object; empty if there are none."""
    changed = {name: text for name, text in values.items() if text.__class__ is str and guarded(text) != text}
    return json_cell(changed) if changed else ""


def json_cell(value: object) -> str:
    """Return JSON in which no character can start a formula."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return _JSON_FORMULA.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def cell(value: object, *, places: int = 2) -> str:
    """Return any value of a report as the text of one CSV cell, an amount with at least `places` digits after the point."""
    kind = value.__class__  # most values of most rows, without a look at what else they might be
    if kind is str:
        return guarded(value)
    if value is None:
        return ""
    if kind is Decimal:
        return exact(value, places=places)  # type: ignore[arg-type]
    if kind is int:
        return str(value)
    match value:
        case datetime():
            return zulu(value)
        case bool():
            return "true" if value else "false"
        case int() | date():
            return str(value)
        case Mapping():
            return json_cell(value)
        case _:
            return guarded(str(value))


@lru_cache(maxsize=1000)  # most are the bounds of days
def zulu(moment: datetime) -> str:
    """Return a moment as FOCUS and finance systems read it: UTC, to the second, with a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
