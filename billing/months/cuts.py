"""The ledger rows of months, copied once into a temporary table that everything of a report or a statement is summed from.

Invariant: all of it is one state of the ledger, and rounds nothing. PostgreSQL keeps the copy and sums it; we hold a few rows of
an answer at a time, however long the month is. The copy ends with the block that made it, or with its transaction.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.ledger.dimensions import REPORTED
from billing.ledger.measures import (
    CALLS,
    ENTRIES_USD,
    ESTIMATED_REQUESTS,
    FURTHER_CALLS,
    HITS,
    LIST_USD,
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
FETCHED_AT_ONCE: Final = 2000

EVERYTHING: Final = (
    *("id", "occurred_at", "tenant_id", *REPORTED, "cache_state", "tags", "missing_tags"),
    *("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"),
    *("saved_input_tokens", "saved_output_tokens", "list_cost", "contracted_cost", "billed_cost", "saving"),
)
_COPY: Final = """
SELECT {columns},
       CASE WHEN r.kind = 'usage' THEN '' ELSE r.reason END AS reason,
       (r.occurred_at AT TIME ZONE %(timezone)s)::date AS day,
       CASE WHEN r.charge_class = '' THEN '' ELSE coalesce(
           (SELECT p.label FROM billing_billingperiod p
            WHERE p.tenant_id = r.tenant_id AND p.starts_at <= r.occurred_at AND p.ends_at > r.occurred_at),
           to_char(r.occurred_at AT TIME ZONE %(timezone)s, 'YYYY-MM')) END AS charge_month,
       further.id AS further_id, known.certainty, bounds.least_usd, bounds.most_usd
FROM {ledger} WHERE {rows}
"""
# The copy as the measures read the ledger (billing/ledger/measures.py).
ROWS: Final = """month_row AS r
CROSS JOIN LATERAL (SELECT r.further_id AS id) AS further
CROSS JOIN LATERAL (SELECT r.certainty) AS known
CROSS JOIN LATERAL (SELECT r.least_usd, r.most_usd) AS bounds"""
# Their lines `l`. The bounds choose the partitions to read: rows of earlier months are few, and read by themselves.
LINES: Final = f"""{ROWS}
JOIN billing_usageline AS l ON l.record_id = r.id AND l.occurred_at = r.occurred_at AND l.tenant_id = r.tenant_id"""

SUMMED: Final = {
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
# What is asked of all rows of a tenant besides their figures: each step, and the bounds of each certainty.
_WHOLE: Final = {
    **{f"step_{step}": amount for step, amount in STEPS_USD.items()},
    **{f"{name}_records": f"count(*) FILTER (WHERE known.certainty = '{name}')" for name in CERTAINTIES},
    **{
        f"{name}_{bound}_usd": usd(f"bounds.{bound}_usd", f"known.certainty = '{name}'")
        for name in CERTAINTIES
        for bound in ("least", "most")
    },
}
_FIGURES: Final = SUMMED | _WHOLE
# What a statement says of its rows.
OF_STATEMENT: Final = (
    *("rows", "requests", "billed_cost_usd"),
    *(f"{name}_{what}" for name in CERTAINTIES for what in ("records", "usd", "least_usd", "most_usd")),
)
# The same rows, asked of the ledger itself.
_BOOKED: Final = (
    "SELECT count(*) AS rows, coalesce(sum(r.billed_cost), 0) AS billed_cost_usd FROM billing_usagerecord AS r"
    " WHERE {rows}"
)


class Unbalanced(Exception):
    """Parts do not add up to the ledger."""


@contextmanager
def copied_rows(
    months: Iterable[Mapping[str, Any]],
    *,
    rows: str = OF_PERIOD,
    tables: Iterable[str] = (),
    columns: Iterable[str] = EVERYTHING,
) -> Iterator[None]:
    """The ledger rows of each month's arguments in the table `month_row`, for as long as the block runs; and these columns.

    Needs a transaction. `tables` are further temporary tables that the block may make of it; they end with it.
    """
    names = ", ".join(("month_row", *tables))
    copied = ", ".join(f"r.{name}" for name in dict.fromkeys(columns))
    copy = _COPY.format(columns=copied, ledger=sure_ledger(rows, as_booked=True), rows=rows)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {names}")
        made = "CREATE TEMPORARY TABLE month_row ON COMMIT DROP AS"
        for arguments in months:
            cursor.execute(f"{made} {copy}", arguments)
            made = "INSERT INTO month_row"
        if made.startswith("CREATE"):
            nobodys: dict[str, Any] = {
                "tenant": 0,
                "period": 0,
                "timezone": "UTC",
                "starts_at": None,
                "ends_at": None,
            }
            cursor.execute(f"{made} {copy}", nobodys)
        cursor.execute("ANALYZE month_row")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {names}")


def bounds_of_lines() -> tuple[str, str]:
    """SQL that chooses lines of a copied month: those of its own time, in few partitions, and those of other times."""
    bounds = read_rows(
        "SELECT min(occurred_at) AS first, max(occurred_at) AS last FROM month_row WHERE charge_class = ''",
        {},
    )[0]
    if bounds["first"] is None:
        return "false", "true"
    of_time = f"l.occurred_at BETWEEN '{bounds['first'].isoformat()}' AND '{bounds['last'].isoformat()}'"
    return f"{of_time} AND r.charge_class = ''", "r.charge_class <> ''"


@dataclass(frozen=True, slots=True)
class Whole:
    """All rows of a tenant together: those of their figures that were asked for, what each step saved, how sure their sum is."""

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


def read_whole(
    arguments: Mapping[str, Any], *, rows: str = OF_PERIOD, figures: Iterable[str] = _FIGURES
) -> Whole:
    """What all copied rows of a tenant make together. Raises Unbalanced unless the ledger itself says the same."""
    asked = ", ".join(f"{_FIGURES[name]} AS {name}" for name in figures)
    totals = f"SELECT {asked} FROM {ROWS} WHERE r.tenant_id = %(tenant)s"
    whole = Whole(read_rows(totals, arguments)[0])
    for name, booked in read_rows(_BOOKED.format(rows=rows), arguments)[0].items():
        require_equal(name, whole.figures[name], booked)
    return whole


def require_equal(what: str, parts: Decimal | int, whole: Decimal | int) -> None:
    """Raise Unbalanced unless the parts make the whole."""
    if parts != whole:
        raise Unbalanced(f"{what}: the parts make {parts}, the ledger says {whole}")


def execute(sql: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Run a statement that answers nothing."""
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)


def read_rows(sql: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a query answers, each row by the names of its columns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def stream_rows(sql: str, arguments: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """What a query answers, some rows at a time from a cursor of the server; needs a transaction."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, arguments)
        while rows := cursor.fetchmany(FETCHED_AT_ONCE):
            yield from rows
