"""The parts of pages: tables, crumbs, and what a form shows of a value that nobody edits there.

Invariant: a part shows what it is given and asks for nothing.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django import template
from django.utils.safestring import SafeString

from config.site import cells
from config.site.browser_names import browser_name
from config.site.look import NAVIGATION

register = template.Library()
register.filter("browser", browser_name)
# "$1.20", "81.3 %", "-0.5", "1,000 tokens", "2.5 per 1,000,000", "12 (50.0 %)"; no date, no id
FIGURE: Final = re.compile(
    r"[-+<]?(\$[\d.,]{1,24}|\d[\d,]{0,24}\.\d{1,24}(?![\d.])|\d{1,3}(,\d{3}){1,8}|\d{1,24}(?= [%(a-z]))(?![-:\w])"
)
MOST_CHARACTERS: Final = 24


@register.inclusion_tag("admin/parts/table.html")
def table(table: dict[str, Any], *, caption: str = "") -> dict[str, Any]:
    """A table of `headers` and `rows`. A Decimal is USD, a number a count, a moment has its zone; figures stand right."""
    rows = [list(row) for row in table["rows"]]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(table["headers"])
    is_figure = [_are_figures(column) for column in columns]
    places = [cells.places_of(column) for column in columns]
    heads = [
        {"text": text, "is_figure": right} for text, right in zip(table["headers"], is_figure, strict=True)
    ]
    shown = [
        [
            {"content": _cell(value, right, digits), "head": head["text"], "is_figure": right}
            for value, right, digits, head in zip(row, is_figure, places, heads, strict=True)
        ]
        for row in rows
    ]
    return {
        "heads": heads,
        "rows": shown,
        "caption": caption,
        "empty": table.get("empty", "Nothing yet."),
        "more": table.get("more", ""),
    }


@register.simple_tag
def crumbs(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The way to a page as the sidebar names it: the group of its work and its list, instead of Django's apps and tables."""
    for group in NAVIGATION:
        for item in group["items"]:
            for number, part in enumerate(parts):
                if str(part.get("link", "")) == str(item["link"]):
                    found = [{"title": item["title"], "link": part["link"]}, *parts[number + 1 :]]
                    return (
                        [{"title": group["title"]}, *found]
                        if group.get("title", item["title"]) != item["title"]
                        else found
                    )
    return parts[1:] if len(parts) > 1 else parts


@register.filter
def for_reading(field: Any) -> Any:
    """A read-only field's value: an amount as money if its name says so, a moment with its zone, else as Django shows it."""
    name = field.field["field"]
    resolved = field.resolved_field
    if not resolved or isinstance(resolved, bool):
        return field.contents()
    column, _, value = resolved
    match value:
        case datetime():
            tenant = getattr(field.form.instance, "tenant", field.form.instance)
            return cells.moment(value, zone=getattr(tenant, "timezone", "UTC"))
        case Decimal() if column is None or str(name).endswith(("_usd", "_cost")):
            return f"{value.normalize():,f} USD"
        case Decimal():
            return f"{value.normalize():,f}"
        case int() if not isinstance(value, bool) and column is not None and not column.choices:
            return value if column.primary_key or str(name).endswith("_id") else f"{value:,}"
    return field.contents()


@register.filter
def moment(at: datetime, zone: str) -> SafeString:
    """A moment in UTC, and beside it by a tenant's clock."""
    return cells.moment(at, zone=zone)


def _cell(value: Any, is_figure: bool, places: int) -> Any:
    if isinstance(value, datetime):
        return cells.moment(value)
    if is_figure and not isinstance(value, SafeString):
        return cells.figure(value, places=places)
    return cells.NOTHING if value in (None, "") else value


def _are_figures(column: Any) -> bool:
    """Whether a column has figures only. "4711" alone may be a cost centre: text is a figure by its point, unit or comma."""
    filled = [value for value in column if value not in (None, "", cells.NOTHING)]
    return any(map(_is_figure, filled)) and all(_is_figure(value) or str(value).isdigit() for value in filled)


def _is_figure(value: Any) -> bool:
    if isinstance(value, SafeString):
        return "p-figure" in value and "p-progress" not in value
    if isinstance(value, str):
        return len(value) <= MOST_CHARACTERS and FIGURE.match(value) is not None
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
