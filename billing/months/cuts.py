"""The ledger of one period in cuts: groups of rows that are equal in every dimension, each with its meters.

Invariant: every query reads the same rows and rounds nothing. A cut's meters and what no meter explains make its costs, and the
cuts make the totals, which are summed by themselves to prove it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.ledger.measures import ESTIMATED_REQUESTS, HITS, REQUEST, REQUESTS, SAVED_USD, ledger

# Which ledger rows are booked in a period, and which happened in it.
OF_PERIOD: Final = "r.tenant_id = %(tenant)s AND r.period_id = %(period)s"
OF_TIME: Final = "r.tenant_id = %(tenant)s AND r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s"

COSTS: Final = ("list_cost_usd", "contracted_cost_usd", "billed_cost_usd")
FIGURES: Final = f"""
count(*) AS rows,
{REQUESTS} AS calls,
{HITS} AS cache_hits,
{ESTIMATED_REQUESTS} AS estimated_calls,
coalesce(sum(r.input_tokens), 0)::bigint AS input_tokens,
coalesce(sum(r.cache_read_tokens), 0)::bigint AS cache_read_tokens,
coalesce(sum(r.cache_write_tokens), 0)::bigint AS cache_write_tokens,
coalesce(sum(r.output_tokens), 0)::bigint AS output_tokens,
coalesce(sum(r.saved_input_tokens + r.saved_output_tokens), 0)::bigint AS saved_tokens,
coalesce(sum(r.list_cost), 0) AS list_cost_usd,
coalesce(sum(r.contracted_cost), 0) AS contracted_cost_usd,
coalesce(sum(r.billed_cost), 0) AS billed_cost_usd,
{SAVED_USD} AS saved_usd"""
TOTALS: Final = "SELECT {figures} FROM {ledger} WHERE {rows}"
CUTS: Final = "SELECT {dimensions}, {figures} FROM {ledger} WHERE {rows} GROUP BY {numbers}"
METERS: Final = """
SELECT {dimensions}, l.meter, l.per, l.unit_price, sum(l.quantity)::bigint, count(*), count(*) FILTER (WHERE {request}),
       sum(l.list_cost), sum(l.contracted_cost), sum(l.billed_cost)
FROM {ledger}
JOIN billing_usageline AS l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE {rows} GROUP BY {numbers}, l.meter, l.per, l.unit_price
"""


class Unbalanced(Exception):
    """Parts do not add up to the ledger."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What a cut used of one meter at one price, in how many ledger rows, of how many requests."""

    name: str
    per: int
    unit_price: Decimal | None
    quantity: int
    rows: int
    calls: int
    costs: tuple[Decimal, ...]  # as COSTS


@dataclass(slots=True)
class Cut:
    """A group of ledger rows: what they have in common, by the names of the dimensions, and their figures, by FIGURES."""

    values: dict[str, Any]
    figures: dict[str, Any]
    meters: list[Meter] = field(default_factory=list)

    @property
    def costs(self) -> tuple[Decimal, ...]:
        return tuple(self.figures[name] for name in COSTS)

    @property
    def unexplained(self) -> tuple[Decimal, ...]:
        """The costs that no meter explains: of a credit all, of metered calls nothing."""
        return tuple(
            cost - sum(meter.costs[place] for meter in self.meters) for place, cost in enumerate(self.costs)
        )


def read_cuts(
    dimensions: Mapping[str, str], arguments: Mapping[str, Any], *, rows: str = OF_PERIOD
) -> list[Cut]:
    """The rows in cuts; `dimensions` are SQL over a ledger row `r`, by name. Two queries."""
    named = ", ".join(f"{sql} AS {name}" for name, sql in dimensions.items())
    parts = {
        "dimensions": named,
        "figures": FIGURES,
        "ledger": ledger(rows),
        "rows": rows,
        "request": REQUEST,
        "numbers": ", ".join(str(number) for number in range(1, len(dimensions) + 1)),
    }
    width = len(dimensions)
    cuts: dict[tuple[Any, ...], Cut] = {}
    for row in read_rows(CUTS.format(**parts), arguments):
        named_values = list(row.items())
        cut = Cut(dict(named_values[:width]), dict(named_values[width:]))
        cuts[tuple(cut.values.values())] = cut
    with connection.cursor() as cursor:
        cursor.execute(METERS.format(**parts), arguments)
        for row in cursor.fetchall():
            name, per, unit_price, quantity, count, calls, *costs = row[width:]
            cuts[row[:width]].meters.append(
                Meter(name, per, unit_price, quantity, count, calls, tuple(costs))
            )
    return list(cuts.values())


def read_totals(arguments: Mapping[str, Any], *, rows: str = OF_PERIOD) -> dict[str, Any]:
    """The figures of all rows together, by FIGURES."""
    return read_rows(TOTALS.format(figures=FIGURES, ledger=ledger(rows), rows=rows), arguments)[0]


def require_equal(what: str, parts: Decimal | int, whole: Decimal | int) -> None:
    """Raise Unbalanced unless the parts make the whole."""
    if parts != whole:
        raise Unbalanced(f"{what}: the parts make {parts}, the ledger says {whole}")


def read_rows(sql: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a query answers, each row by the names of its columns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
