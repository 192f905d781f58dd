"""Charts made by the server, of plain HTML and SVG: stacked columns, a waterfall, a donut, a share, a sparkline.

Invariant: display only, and without scripts. Floats are sizes on the screen; every figure that can be read is the exact one,
and each chart has its figures as a table too, whose cells lead where its columns lead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import cos, floor, log10, pi, sin
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.site import cells

Amount = Decimal | int
MOST_COLUMNS: Final = 62  # more days are joined
MOST_SERIES: Final = 7
FURTHEST_LINE: Final = 4  # times the highest column
REST: Final = 8  # the colour of what has no series of its own
SPARK_WIDTH, SPARK_HEIGHT = 120, 28
# how requests end: the name in the sums of days, the name that is shown, its colour, and what the list of requests calls it
OUTCOMES: Final = (
    ("answered", "Answered by a provider", 1, "provider"),
    ("cached", "From the cache", 9, "cached"),
    ("refused", "Refused", 3, "refused"),
    ("failed", "Failed", 10, "failed"),
)


@dataclass(frozen=True)
class Column:
    """One column: a day, or several."""

    label: str
    url: str = ""


@dataclass(frozen=True)
class Series:
    """One colour of the columns, with a value for each column; `colour` is a number of the stylesheet."""

    name: str
    values: Sequence[Amount]
    colour: int
    url: str = ""
    urls: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Step:
    """One step of a waterfall: what it takes away is negative; the first and last are whole amounts."""

    name: str
    amount: Decimal
    is_whole: bool = False
    url: str = ""


def stacked(
    columns: Sequence[Column],
    series: Sequence[Series],
    *,
    title: str,
    line: Amount | None = None,
    line_name: str = "",
) -> dict[str, Any]:
    """Columns of series, with a level line across them, for `admin/parts/stacked.html`. Decimals are USD, ints counts."""
    sums = [sum((one.values[place] for one in series), start=_zero(series)) for place in range(len(columns))]
    highest = max(sums, default=0)
    # a line far above all columns would press them flat: then it is told, not drawn
    is_drawn = line is not None and (not highest or line <= FURTHEST_LINE * highest)
    top = nice_top(max(highest, line or 0) if is_drawn else highest)
    line_text = f"{line_name}: {shown(line)}{'' if is_drawn else ', above the chart'}" if line else ""
    drawn = [
        {
            "label": column.label,
            "url": column.url,
            "text": f"{column.label}: {shown(whole)}",
            "parts": [
                {"height": _percent(one.values[place], top), "colour": one.colour, "name": one.name}
                for one in series
                if one.values[place] > 0
            ],
        }
        for place, (column, whole) in enumerate(zip(columns, sums, strict=True))
    ]
    return {
        "title": title,
        "columns": drawn,
        "is_empty": not any(sums),
        "ticks": [{"text": short(top * share), "height": float(100 * share)} for share in TICKS],
        "labels": _labels(columns),
        "line": {"height": _percent(line, top) if is_drawn else None, "text": line_text} if line else None,
        "legend": [
            {
                "name": one.name,
                "colour": one.colour,
                "url": one.url,
                "total": shown(sum(one.values, start=_zero([one]))),
            }
            for one in series
        ],
        "table": _table(columns, series, sums),
    }


def waterfall(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """From one amount to another, a row for each step, for `admin/parts/waterfall.html`."""
    reached, widest, rows = Decimal(0), max((abs(step.amount) for step in steps), default=Decimal(0)), []
    places = cells.places_of(step.amount for step in steps)
    for step in steps:
        before, reached = (
            Decimal(0) if step.is_whole else reached,
            step.amount if step.is_whole else reached + step.amount,
        )
        low, high = sorted((before, reached))
        kind = "whole" if step.is_whole else "less" if step.amount < 0 else "more"
        rows.append(
            {
                "name": step.name,
                "url": step.url,
                "left": _percent(max(low, Decimal(0)), widest),
                "width": _percent(high - max(low, Decimal(0)), widest),
                "kind": kind,
                "amount": cells.money(step.amount, places=places),
            }
        )
    return rows


def donut(parts: Sequence[tuple[str, int, int, str]]) -> dict[str, Any]:
    """Shares of a whole, for `admin/parts/donut.html`; a part is its name, count, colour and link."""
    whole = sum(count for _, count, _, _ in parts)
    slices, angle = [], 0.0
    for name, count, colour, url in parts:
        share = count / whole if whole else 0.0
        slices.append(
            {
                "name": name,
                "url": url,
                "colour": colour,
                "count": f"{count:,}",
                "percent": f"{100 * share:.1f} %",
                "path": _arc(angle, angle + share) if count else "",
            }
        )
        angle += share
    return {"slices": slices, "whole": short(whole), "is_empty": not whole}


def share(amount: Amount, widest: Amount) -> SafeString:
    """A bar of how much of the greatest an amount is, beside the amount."""
    return format_html(
        '<span class="p-share-lane"><span class="p-share" style="width:{}%"></span></span>',
        f"{max(0.0, _percent(amount, widest)):.1f}",
    )


def column(amount: Amount, highest: Amount) -> str:
    """How high a column is, in percent of the highest; one of credits has no height."""
    return f"{max(0.0, _percent(amount, highest)):.1f}" if highest > 0 else "0.0"


def sparkline(values: Sequence[Amount | float]) -> SafeString | str:
    """A line of how a figure went, beside the figure; it says nothing that is not said elsewhere."""
    if len(values) < 2 or not any(values):
        return ""
    figures = [float(value) for value in values]
    lowest, highest = min(0.0, *figures), max(0.0, *figures)  # a day of credits lies below nothing
    step, height = SPARK_WIDTH / (len(figures) - 1), (SPARK_HEIGHT - 3) / (highest - lowest)
    points = " ".join(
        f"{number * step:.1f},{SPARK_HEIGHT - 1 - (figure - lowest) * height:.1f}"
        for number, figure in enumerate(figures)
    )
    return format_html(
        '<svg class="p-spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<polyline points="{}" vector-effect="non-scaling-stroke"/></svg>',
        SPARK_WIDTH,
        SPARK_HEIGHT,
        points,
    )


TICKS: Final = (Decimal(1), Decimal("0.5"), Decimal(0))


def nice_top(highest: Amount) -> Decimal:
    """The end of an axis: 1, 2, 2.5 or 5 times a power of ten, at least as high as the highest column."""
    if highest <= 0:
        return Decimal(1)
    power = Decimal(10) ** floor(log10(highest))
    return next(
        power * Decimal(factor)
        for factor in ("1", "2", "2.5", "5", "10", "20")
        if power * Decimal(factor) >= highest
    )


def short(amount: Amount) -> str:
    """An amount on an axis: "1.5k", "0.002"."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if amount >= size:
            return f"{Decimal(amount) / size:.3g}".rstrip(".") + letter
    return f"{Decimal(amount).normalize():f}"


def shown(amount: Amount) -> str:
    """An amount in a sentence: a Decimal is USD."""
    if not isinstance(amount, Decimal):
        return f"{amount:,}"
    places = Decimal(1).scaleb(-cells.places_of([amount]))
    return f"{amount.quantize(places):,f} USD"


def _table(
    columns: Sequence[Column], series: Sequence[Series], sums: Sequence[Amount]
) -> dict[str, Any] | None:
    if not series:
        return None
    unit = ", USD" if isinstance(_zero(series), Decimal) else ""
    rows = [
        [
            cells.link(column.url, column.label) if column.url else column.label,
            *(one.values[place] for one in series),
            sums[place],
        ]
        for place, column in enumerate(columns)
    ]
    return {"headers": ["Day", *(f"{one.name}{unit}" for one in series), f"Together{unit}"], "rows": rows}


def _labels(columns: Sequence[Column]) -> list[str]:
    """The first, the middle and the last day: more would not fit a narrow window."""
    if len(columns) < 3:
        return [column.label for column in columns]
    return [columns[0].label, columns[len(columns) // 2].label, columns[-1].label]


def _zero(series: Sequence[Series]) -> Any:
    return Decimal(0) if any(isinstance(value, Decimal) for one in series for value in one.values) else 0


def _percent(part: Amount, whole: Amount) -> float:
    return round(float(100 * Decimal(part) / Decimal(whole)), 3) if whole else 0.0


def _arc(begin: float, end: float) -> str:
    """A slice of a ring of radius 40 around (50, 50), from one share of the circle to another, clockwise from the top."""
    end = min(end, begin + 0.9999)  # a whole circle begins where it ends, and would not be drawn

    def at(share: float, radius: float) -> str:
        return f"{50 + radius * sin(2 * pi * share):.2f} {50 - radius * cos(2 * pi * share):.2f}"

    far = int(end - begin > 0.5)
    return f"M {at(begin, 48)} A 48 48 0 {far} 1 {at(end, 48)} L {at(end, 30)} A 30 30 0 {far} 0 {at(begin, 30)} Z"
