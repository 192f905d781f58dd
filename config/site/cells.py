"""How figures, times and shares look on a page: amounts of one column have one number of places, times have their zone.

Invariant: display only, and never rounded to nothing. Every shortened amount has the exact one as its tooltip.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

NOTHING: Final = "–"
FEWEST_PLACES, MOST_PLACES = 2, 6
WARNS_AT, ALARMS_AT = 80, 95  # percent


def places_of(amounts: Iterable[Any]) -> int:
    """The decimal places of a column: two digits of its smallest amount, but at least cents and at most six places."""
    sizes = [abs(amount) for amount in amounts if isinstance(amount, Decimal) and amount]
    needed = max((1 - size.adjusted() for size in sizes if size < 1), default=FEWEST_PLACES)
    return min(max(needed, FEWEST_PLACES), MOST_PLACES)


def money(amount: Decimal, *, places: int = MOST_PLACES) -> SafeString:
    """An amount in a column of amounts. One that is too small for the places is "<0.000001", not zero."""
    least = Decimal(1).scaleb(-places)
    shown = amount.quantize(least, ROUND_HALF_EVEN)
    sign = "-" if amount < 0 else ""
    text = f"{shown:,f}" if shown or not amount else f"{sign}<{least:f}"
    nil = "" if amount else " p-nil"
    return format_html(
        '<span class="p-figure{}" title="{} USD">{}</span>', nil, f"{amount.normalize():f}", text
    )


def figure(value: Any, *, places: int = MOST_PLACES) -> SafeString:
    """A cell of a column of figures: a Decimal is USD, an int or float is a count, text stays text."""
    match value:
        case None | "":
            return format_html('<span class="p-figure">{}</span>', NOTHING)
        case Decimal():
            return money(value, places=places)
        case int():
            return format_html('<span class="p-figure">{}</span>', f"{value:,}")
        case float():
            return format_html('<span class="p-figure">{}</span>', f"{value:,.4g}")
        case _:
            return format_html('<span class="p-figure">{}</span>', value)


def moment(at: datetime, *, zone: str = "UTC") -> SafeString:
    """A moment in UTC and, if the tenant's clock shows another time, in the tenant's zone."""
    utc, local = at.astimezone(UTC), at.astimezone(zone_of(zone))
    beside: SafeString | str = ""
    if local.utcoffset():
        form = "%H:%M %Z" if local.date() == utc.date() else "%Y-%m-%d %H:%M %Z"
        beside = format_html(' <span class="p-zone">{}</span>', local.strftime(form))
    return format_html(
        '<time class="p-moment" datetime="{}" title="{}">{} <span class="p-utc">UTC</span>{}</time>',
        utc.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S %Z}, {zone}",
        f"{utc:%Y-%m-%d %H:%M:%S}",
        beside,
    )


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name; UTC if there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def progress(used_percent: Decimal, *, label: str = "used", is_limit: bool = True) -> SafeString:
    """A bar of how much of a limit is used; amber from 80 %, red from 95 %. Or of how much of some work is done."""
    width = max(Decimal(0), min(used_percent, Decimal(100)))
    state = "alarm" if used_percent >= ALARMS_AT else "warning" if used_percent >= WARNS_AT else "well"
    state = state if is_limit else "well"
    return format_html(
        '<span class="p-progress" data-state="{}"><span class="p-track" role="img" aria-label="{} % {}">'
        '<span style="width:{}%"></span></span><span class="p-figure">{} %</span></span>',
        state,
        f"{used_percent:.1f}",
        label,
        f"{width:.1f}",
        f"{used_percent:.1f}",
    )


def json_block(value: Any) -> SafeString:
    """JSON as readable text, which wraps and never widens its page."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return format_html('<pre class="p-json" tabindex="0">{}</pre>', text)


def lines(parts: Iterable[Any]) -> SafeString:
    """Several things in one cell, below each other; the n-th lines of neighbouring cells stand beside each other."""
    return format_html(
        '<span class="p-lines">{}</span>', format_html_join("", "<span>{}</span>", ((one,) for one in parts))
    )


def link(url: str, text: Any) -> SafeString:
    """A link within a cell."""
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)
