"""Charts drawn by the server as SVG: no script, readable without colours, the same on paper.

Invariant: drawing only. Amounts come as exact numbers and become pixels here, nothing else; each bar says its day and amounts.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

HEIGHT: Final = 160
BASE: Final = 18  # below the bars, for the labels
WIDTH: Final = 640
LEFT: Final = 62  # beside the bars, for the scale
MOST_LABELS: Final = 6
Form = Callable[[Any], str]


def money(amount: Any) -> str:
    """An amount of USD on a scale or in a tooltip."""
    exact = Decimal(amount)
    if exact == 0:
        return "0"
    if abs(exact) >= 1:
        return f"{exact:,.2f}"
    return f"{exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1)):f}"


def count(number: Any) -> str:
    """A count on a scale or in a tooltip."""
    return f"{int(number):,}"


def stacked_bars(
    title: str, labels: Sequence[str], series: Sequence[tuple[str, Sequence[Any]]], *, form: Form = count
) -> SafeString:
    """Bars that stand on each other, one place for each label; `series` are the parts of each bar from the bottom."""
    highest = max(
        (sum(Decimal(part[place]) for _, part in series) for place in range(len(labels))), default=Decimal(0)
    )
    if not highest:
        return format_html('<p class="p-empty">{}</p>', "Nothing in these days.")
    step = Decimal(WIDTH - LEFT) / max(len(labels), 1)
    bars = [
        _bar(place, label, [(name, Decimal(part[place])) for name, part in series], highest, step, form)
        for place, label in enumerate(labels)
    ]
    legend = format_html_join(
        "", '<li><span data-series="{}"></span>{}</li>', ((i, name) for i, (name, _) in enumerate(series))
    )
    every = max(1, -(-len(labels) // MOST_LABELS))
    ticks = format_html_join(
        "",
        '<text x="{}" y="{}">{}</text>',
        (
            (f"{LEFT + step * (place + Decimal('0.5')):.1f}", HEIGHT + BASE - 4, label)
            for place, label in enumerate(labels)
            if place % every == 0
        ),
    )
    scale = format_html_join(
        "",
        '<line x1="{}" x2="{}" y1="{}" y2="{}"/><text class="p-scale" x="{}" y="{}">{}</text>',
        ((LEFT, WIDTH, y, y, LEFT - 6, y + 4, text) for y, text in ((10, form(highest)), (HEIGHT, "0"))),
    )
    return format_html(
        '<figure class="p-chart"><ul class="p-legend">{}</ul>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg></figure>',
        legend,
        WIDTH,
        HEIGHT + BASE,
        f"{title}: {labels[0]} to {labels[-1]}, at most {form(highest)} a day",
        scale,
        format_html_join("", "{}", ((bar,) for bar in bars)),
        ticks,
    )


def _bar(
    place: int, label: str, parts: list[tuple[str, Decimal]], highest: Decimal, step: Decimal, form: Form
) -> SafeString:
    x, width, y = LEFT + step * place + step / 8, step * 3 / 4, Decimal(HEIGHT)
    drawn = []
    for number, (_, amount) in enumerate(parts):
        height = amount / highest * (HEIGHT - 10)
        y -= height
        if height:
            drawn.append((number, f"{x:.1f}", f"{y:.1f}", f"{width:.1f}", f"{height:.2f}"))
    told = ", ".join(f"{name} {form(amount)}" for name, amount in parts)
    rects = format_html_join("", '<rect data-series="{}" x="{}" y="{}" width="{}" height="{}"/>', drawn)
    return format_html("<g><title>{}</title>{}</g>", f"{label}: {told}", rects)
