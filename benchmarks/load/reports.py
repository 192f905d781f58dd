"""Tables and charts of outcomes: text for the terminal, Markdown and SVG for `benchmarks/results`.

Invariant: pure. A figure that a scenario does not have is an empty cell, never a zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.load.runs import Outcome


@dataclass(frozen=True, slots=True)
class Column:
    """A figure by its name, its title, and how many digits come after the point."""

    figure: str
    title: str
    digits: int = 2
    has_spread: bool = False


COLUMNS = (
    Column("requests_per_second", "requests/s", 0, has_spread=True),
    Column("gateway_cpu_ms", "gateway CPU ms", has_spread=True),
    Column("postgres_cpu_ms", "PostgreSQL CPU ms"),
    Column("redis_cpu_ms", "Redis CPU ms"),
    Column("helpers_cpu_ms", "Celery CPU ms"),
    Column("postgres_helpers_cpu_ms", "PostgreSQL for Celery CPU ms"),
    Column("redis_round_trips", "Redis round trips"),
    Column("postgres_transactions", "transactions"),
    Column("postgres_wal_records", "WAL records", 1),
    Column("postgres_wal_bytes", "WAL bytes", 0),
    Column("p50_ms", "p50 ms", 1),
    Column("p99_ms", "p99 ms", 1),
    Column("gateway_busy", "core used"),
)
SHADES = {"gateway_cpu_ms": "#2f6f9f", "postgres_cpu_ms": "#d98032", "redis_cpu_ms": "#b03a48"}
NAMES = {"gateway_cpu_ms": "gateway", "postgres_cpu_ms": "PostgreSQL", "redis_cpu_ms": "Redis"}
BAR, GAP, LEFT, WIDTH = 22, 12, 330, 900


def markdown_table(outcomes: Mapping[str, Outcome], columns: Sequence[Column] = COLUMNS) -> str:
    """A row per scenario: what it is, then the medians, with the spread of the runs where a column has one."""
    shown = [
        column for column in columns if any(column.figure in outcome.runs for outcome in outcomes.values())
    ]
    rows = [["", *(column.title for column in shown)], ["---"] * (1 + len(shown))]
    for outcome in outcomes.values():
        rows.append([outcome.scenario.what, *(_cell(outcome, column) for column in shown)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def ratios(outcomes: Mapping[str, Outcome], pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """The gateway's CPU of the first of each pair in that of the second, for pairs that were both measured."""
    return {
        f"{first} / {second}": round(
            outcomes[first].median("gateway_cpu_ms") / outcomes[second].median("gateway_cpu_ms"), 2
        )
        for first, second in pairs
        if first in outcomes and second in outcomes
    }


def chart(outcomes: Mapping[str, Outcome], *, title: str) -> str:
    """CPU milliseconds per request as SVG: a bar per scenario, a shade per part."""
    totals = {name: sum(part for _, part in _parts(outcome)) for name, outcome in outcomes.items()}
    scale = (WIDTH - LEFT - 90) / max(totals.values())
    height = 70 + len(outcomes) * (BAR + GAP)
    drawn = [_text(10, 24, title, size=16)]
    for number, (figure, shade) in enumerate(SHADES.items()):
        x = LEFT + number * 130
        drawn += [
            f'<rect x="{x}" y="38" width="12" height="12" fill="{shade}"/>',
            _text(x + 18, 49, NAMES[figure]),
        ]
    for number, (name, outcome) in enumerate(outcomes.items()):
        y, x = 62 + number * (BAR + GAP), float(LEFT)
        drawn.append(_text(LEFT - 8, y + 15, outcome.scenario.what, anchor="end"))
        for figure, part in _parts(outcome):
            width = part * scale
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{SHADES[figure]}"/>'
            )
            x += width
        drawn.append(_text(x + 6, y + 15, f"{totals[name]:.2f} ms"))
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n' + "\n".join([ground, *drawn]) + "\n</svg>\n"


def _parts(outcome: Outcome) -> list[tuple[str, float]]:
    return [(figure, outcome.median(figure)) for figure in SHADES if figure in outcome.runs]


def _cell(outcome: Outcome, column: Column) -> str:
    if column.figure not in outcome.runs:
        return ""
    if column.figure == "gateway_busy":
        return f"{outcome.median(column.figure):.0%}"
    text = f"{outcome.median(column.figure):,.{column.digits}f}"
    if column.has_spread:
        low, high = outcome.spread(column.figure)
        text += f" ({low:,.{column.digits}f} to {high:,.{column.digits}f})"
    return text


def _text(x: float, y: float, text: str, *, size: int = 13, anchor: str = "start") -> str:
    style = f'font-family="sans-serif" font-size="{size}" text-anchor="{anchor}" fill="#222222"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
