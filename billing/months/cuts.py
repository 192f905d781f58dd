"""The ledger of one period in cuts: groups of rows that are equal in every dimension, each with its meters.

Invariant: every query reads the same rows and rounds nothing. A cut's meters and what no meter explains make its costs, and the
cuts make the totals, which are summed by themselves to prove it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.ledger.measures import (
    CALLS,
    ENTRIES_USD,
    ESTIMATED_REQUESTS,
    FURTHER_CALLS,
    HITS,
    LIST_USD,
    LISTED,
    OWN_CALLS,
    REQUESTS,
    SAVED_USD,
    STEPS_USD,
    UNALLOCATED_REQUESTS,
    UNALLOCATED_USD,
    sure_ledger,
    usd,
)
from billing.months.parts import Sure

# Which ledger rows are booked in a period, and which happened in it.
OF_PERIOD: Final = "r.tenant_id = %(tenant)s AND r.period_id = %(period)s"
OF_TIME: Final = "r.tenant_id = %(tenant)s AND r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s"

CERTAINTIES: Final = ("exact", "estimated", "unread")
COSTS: Final = ("list_cost_usd", "contracted_cost_usd", "billed_cost_usd")
_FIGURES: Final = {
    "rows": "count(*)",
    "requests": REQUESTS,
    "calls": CALLS,
    "further_calls": FURTHER_CALLS,
    "own_calls": OWN_CALLS,
    "cache_hits": HITS,
    "estimated_requests": ESTIMATED_REQUESTS,
    "unallocated_requests": UNALLOCATED_REQUESTS,
    **{
        name: f"coalesce(sum(r.{name}), 0)::bigint"
        for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    },
    "saved_tokens": "coalesce(sum(r.saved_input_tokens + r.saved_output_tokens), 0)::bigint",
    "list_cost_usd": LIST_USD,
    "saved_usd": SAVED_USD,
    "contracted_cost_usd": usd("r.contracted_cost", "true"),
    **{f"{name}_usd": amount for name, amount in ENTRIES_USD.items()},
    "billed_cost_usd": usd("r.billed_cost", "true"),
    **{f"{name}_usd": usd("r.billed_cost", f"known.certainty = '{name}'") for name in CERTAINTIES},
    "least_usd": usd("bounds.least_usd", "true"),
    "most_usd": usd("bounds.most_usd", "true"),
    "unallocated_usd": UNALLOCATED_USD,
}
FIGURES: Final = ", ".join(f"{sql} AS {name}" for name, sql in _FIGURES.items())
# What is asked of all rows together besides their figures: each step, and the bounds of each certainty.
_WHOLE: Final = {
    **{f"step_{step}": amount for step, amount in STEPS_USD.items()},
    **{f"{name}_records": f"count(*) FILTER (WHERE known.certainty = '{name}')" for name in CERTAINTIES},
    **{
        f"{name}_{bound}_usd": usd(f"bounds.{bound}_usd", f"known.certainty = '{name}'")
        for name in CERTAINTIES
        for bound in ("least", "most")
    },
}
TOTALS: Final = f"""
SELECT {FIGURES}, {", ".join(f"{sql} AS {name}" for name, sql in _WHOLE.items())} FROM {{ledger}} WHERE {{rows}}
"""
CUTS: Final = "SELECT {dimensions}, {figures} FROM {ledger} WHERE {rows} GROUP BY {numbers}"
METERS: Final = f"""
SELECT {{dimensions}}, l.meter, l.per, l.unit_price, sum(l.quantity)::bigint, count(*), sum(l.list_cost),
       {usd("l.list_cost", LISTED)}, sum(l.contracted_cost), sum(l.billed_cost)
FROM {{ledger}}
JOIN billing_usageline AS l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE {{rows}} GROUP BY {{numbers}}, l.meter, l.per, l.unit_price
"""


class Unbalanced(Exception):
    """Parts do not add up to the ledger."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What a cut used of one meter at one price, in how many ledger rows. `own_list_usd` is at the list price of this very meter;
    `costs` have what a request would have cost without us, where the row is one."""

    name: str
    per: int
    unit_price: Decimal | None
    quantity: int
    rows: int
    own_list_usd: Decimal
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
        "ledger": sure_ledger(rows, as_booked=True),
        "rows": rows,
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
            name, per, unit_price, quantity, count, own_list, *costs = row[width:]
            cuts[row[:width]].meters.append(
                Meter(name, per, unit_price, quantity, count, own_list, tuple(costs))
            )
    return list(cuts.values())


@dataclass(frozen=True, slots=True)
class Whole:
    """All rows together: their figures, what each step saved, how sure their sum is."""

    figures: dict[str, Any]

    @property
    def steps(self) -> dict[str, Decimal]:
        return {step: self.figures[f"step_{step}"] for step in STEPS_USD}

    @property
    def certainty(self) -> tuple[Sure, ...]:
        figures = self.figures
        return tuple(
            Sure(
                name, figures[f"{name}_records"], figures[f"{name}_usd"], figures[f"{name}_least_usd"],
                figures[f"{name}_most_usd"],
            )
            for name in CERTAINTIES
        )  # fmt: skip


def read_whole(arguments: Mapping[str, Any], *, rows: str = OF_PERIOD) -> Whole:
    """What all rows make together. One query."""
    return Whole(read_rows(TOTALS.format(ledger=sure_ledger(rows, as_booked=True), rows=rows), arguments)[0])


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
