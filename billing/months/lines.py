"""The lines of a statement: the ledger of one month, summed per cost centre, user, key, model and meter.

Invariant: the lines' exact USD are the ledger's sum to the last digit. The printed amounts have six places; a cost centre owes
whole cents, and what its lines lack of them, less than a cent, is a line of its own. The cost centres make the total.
PostgreSQL makes and keeps the lines, so memory does not grow with them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from functools import partial
from typing import Any, Final

from django.db import connection

from billing.ledger.measures import AMOUNTS_ALONE
from billing.models import BillingPeriod
from billing.months.amounts import divide_owed, line_digits
from billing.months.cuts import (
    LINES,
    OF_PERIOD,
    OF_STATEMENT,
    ROWS,
    Unbalanced,
    Whole,
    bounds_of_lines,
    copied_rows,
    execute,
    read_rows,
    read_whole,
    require_equal,
    stream_rows,
)
from billing.months.parts import Streamed
from config.values import value_type

CACHE_HIT: Final = "gateway_cache_hit"
ROUNDING: Final = "rounding"
TABLES: Final = ("month_used", "month_charge", "month_line")
_ALONE: Final = ", ".join(f"'{kind}'" for kind in AMOUNTS_ALONE)


class UnbalancedStatement(Unbalanced):
    """The lines of a statement do not make the ledger's sum."""


@value_type
class PeriodLine:
    """One line of a statement. `amount` is printed; `exact_usd` is what the ledger says."""

    category: str
    charge_class: str
    charge_month: str
    cost_center: str
    user_id: str
    key_id: int | None
    key_name: str
    provider: str
    model: str
    processing: str
    meter: str
    quantity: int
    unit: str
    per: int
    unit_price: Decimal | None
    exact_usd: Decimal
    amount: Decimal = Decimal(0)
    text: str = ""
    certainty: str = ""  # of a line that the ledger knows; empty on statements that are older than it


# Who, which and why: what a line of a statement is cut by, besides its meter and its price, in SQL over a ledger row.
_CUT: Final = {
    "category": "r.kind",
    "charge_class": "r.charge_class",
    "charge_month": "r.charge_month",
    "cost_center": "r.cost_center",
    "user_id": "r.user_id",
    "key_id": "r.key_id",
    "provider": "r.provider",
    "model": "r.model",
    "processing": f"CASE WHEN r.kind IN ({_ALONE}) THEN '' ELSE r.processing END",
    "text": f"CASE WHEN r.kind IN ({_ALONE}) THEN r.reason ELSE '' END",
    "certainty": "known.certainty",
    "is_hit": "r.usage_source = 'gateway_cache'",
}
# The columns of the ledger that this file reads.
_COPIED: Final = (
    *(
        "id",
        "occurred_at",
        "tenant_id",
        "kind",
        "charge_class",
        "cost_center",
        "user_id",
        "key_id",
        "provider",
    ),
    *("model", "processing", "usage_source", "cache_state", "billed_cost"),
)
_NAMES: Final = ", ".join(_CUT)
_NUMBERS: Final = ", ".join(str(number) for number in range(1, len(_CUT) + 1))
_OF_ROW: Final = ", ".join(f"{sql} AS {name}" for name, sql in _CUT.items())
_METERS: Final = f"""
SELECT {_OF_ROW}, l.meter, l.per, l.unit_price, sum(l.quantity)::bigint AS quantity, sum(l.billed_cost) AS exact_usd
FROM {LINES} WHERE {{bounds}} GROUP BY {_NUMBERS}, l.meter, l.per, l.unit_price
"""
# The meters, and what none of them explains where there is anything to say: a credit, an adjustment, the hits of our cache.
_CHARGES: Final = f"""
SELECT {_NAMES}, meter, quantity, CASE WHEN meter ~ '^(input|cache_|output)' THEN 'tokens' ELSE 'units' END AS unit, per,
       unit_price, exact_usd
FROM month_used
UNION ALL
SELECT {_NAMES}, CASE WHEN is_hit THEN '{CACHE_HIT}' ELSE '' END, sum(rows)::bigint, CASE WHEN is_hit THEN 'hits' ELSE '' END,
       1, NULL, sum(rest)
FROM (
    SELECT {_OF_ROW}, 1 AS rows, r.billed_cost AS rest FROM {ROWS}
    UNION ALL
    SELECT {_NAMES}, 0, -exact_usd FROM month_used
) AS cut
GROUP BY {_NAMES} HAVING is_hit OR sum(rest) <> 0 OR category IN ({_ALONE})
"""
CHARGES: Final = f"""
SELECT c.*, coalesce(k.name, '') AS key_name FROM ({_CHARGES}) AS c
LEFT JOIN tenants_apikey AS k ON k.id = c.key_id AND k.tenant_id = %(tenant)s
"""
# Usage first, then its corrections, then by user and model.
_ORDER: Final = ", ".join(
    f'{name} COLLATE "C"' if name in (*_CUT, "key_name") else name
    for name in (
        *(
            "cost_center",
            "array_position(ARRAY['usage', 'correction', 'adjustment', 'credit', 'commitment'], category)",
        ),
        *("charge_month", "user_id", "key_name", "coalesce(key_id, 0)", "provider", "model", "processing"),
        *('meter COLLATE "C"', "coalesce(unit_price, 0)", "per", "charge_class", "text", "certainty"),
    )
)
_KEPT: Final = tuple(field.name for field in fields(PeriodLine))
# The charges in their order. Each amount is rounded down to its last place,
_CHARGE: Final = f"""
CREATE TEMPORARY TABLE month_charge ON COMMIT DROP AS
SELECT *, floor(exact * %(power)s) * %(unit)s AS part
FROM (
    SELECT *, exact_usd * %(fx_rate)s AS exact, row_number() OVER (ORDER BY {_ORDER}) AS place
    FROM ({{charges}}) AS charges
) AS converted
"""
# and what the sum of a cost centre has more goes to the largest remainders. The lines are stored in their order, too, so that
# reading them sorts nothing.
_PRINT: Final = f"""
CREATE TEMPORARY TABLE month_line ON COMMIT DROP AS
SELECT {", ".join(name for name in _KEPT if name not in ("amount", "exact_usd"))}, exact_usd::numeric(28, 12),
       (part + CASE WHEN raised.place IS NULL THEN 0 ELSE %(unit)s END)::numeric(28, 12) AS amount, charge.place::numeric
FROM month_charge AS charge
LEFT JOIN (
    SELECT place
    FROM (
        SELECT place, row_number() OVER (PARTITION BY cost_center ORDER BY part - exact, place) AS turn,
               (round(sum(exact) OVER center, %(digits)s) - sum(part) OVER center) * %(power)s AS missing
        FROM month_charge
        WINDOW center AS (PARTITION BY cost_center)
    ) AS ranked
    WHERE turn <= missing
) AS raised ON raised.place = charge.place
"""
_CENTERS: Final = """
SELECT cost_center, sum(exact_usd) AS exact_usd, sum(amount) AS amount, max(place) AS last, count(*) AS lines
FROM month_line GROUP BY cost_center ORDER BY cost_center COLLATE "C"
"""
_PARTS: Final = """
SELECT cost_center, category, sum(exact_usd) AS exact_usd FROM month_line GROUP BY cost_center, category ORDER BY 1, 2
"""
# What the printed lines of a cost centre lack of what it owes. The ledger knows nothing of it.
_ROUND: Final = f"""
INSERT INTO month_line ({", ".join(_KEPT)}, place)
SELECT '{ROUNDING}', '', '', cost_center, '', NULL, '', '', '', '', '', 0, '', 1, NULL, 0, amount,
       'To the whole minor units that the cost centre owes', '', place
FROM unnest(%(centers)s::text[], %(amounts)s::numeric[], %(places)s::numeric[]) AS rounding (cost_center, amount, place)
"""
_READ: Final = f"SELECT {', '.join(_KEPT)} FROM month_line ORDER BY place"
_STORE: Final = f"""
INSERT INTO billing_statementline (statement_id, line_no, {", ".join(_KEPT)})
SELECT %(statement)s, row_number() OVER (ORDER BY place), {", ".join(_KEPT)} FROM month_line
"""
_AMOUNT: Final = "(CASE WHEN scale(trim_scale({0})) < 2 THEN round({0}, 2) ELSE trim_scale({0}) END)"
_CELLS: Final = ", ".join(
    f"coalesce({_AMOUNT.format(name) if name in ('unit_price', 'exact_usd', 'amount') else name}::text, '')"
    for name in _KEPT
)
# The lines as CSV, every cell quoted: amounts as `exports.cells.exact` writes them, nothing where there is no value.
_AS_CSV: Final = f"""
COPY (SELECT row_number() OVER (ORDER BY place), {_CELLS} FROM month_line ORDER BY place) TO STDOUT (FORMAT csv, FORCE_QUOTE *)
"""
# The lines as a digest reads them: texts of a few lines each, in order.
_AS_TEXT: Final = f"""
SELECT string_agg(ROW(line_no, {", ".join(_KEPT)})::text || E'\n', '' ORDER BY line_no)
FROM ({{lines}}) AS lines GROUP BY (line_no - 1) / 20 ORDER BY (line_no - 1) / 20
"""
_TEXT_OF_MADE: Final = _AS_TEXT.format(
    lines=f"SELECT row_number() OVER (ORDER BY place) AS line_no, {', '.join(_KEPT)} FROM month_line"
)
_TEXT_OF_STORED: Final = _AS_TEXT.format(
    lines=f"SELECT line_no, {', '.join(_KEPT)} FROM billing_statementline WHERE statement_id = %(statement)s"
)


@dataclass(frozen=True, slots=True)
class PeriodLines:
    """The lines of a month while they are there: what they sum, and what each cost centre owes."""

    lines: Streamed[PeriodLine]
    whole: Whole
    owed: dict[str, Decimal]  # by cost centre
    exact_usd: Decimal
    rounding: Decimal

    @property
    def total(self) -> Decimal:
        return sum(self.owed.values(), start=Decimal(0))

    @property
    def row_count(self) -> int:
        return int(self.whole.figures["rows"])

    @property
    def request_count(self) -> int:
        return int(self.whole.figures["requests"])


@contextmanager
def opened_lines(
    period: BillingPeriod,
    *,
    timezone: str,
    rows: str = OF_PERIOD,
    currency: str = "USD",
    fx_rate: Decimal = Decimal(1),
) -> Iterator[PeriodLines]:
    """Sum a month into the printed lines of a statement, which are there while the block runs; needs a transaction.

    Raises UnbalancedStatement unless the lines make the ledger's sum.
    """
    arguments: dict[str, Any] = {
        "tenant": period.tenant_id,
        "period": period.pk,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "timezone": timezone,
    }
    with copied_rows([arguments], rows=rows, tables=TABLES, columns=_COPIED):
        of_time, of_others = bounds_of_lines()
        execute(f"CREATE TEMPORARY TABLE month_used ON COMMIT DROP AS {_METERS.format(bounds=of_time)}")
        execute(f"INSERT INTO month_used {_METERS.format(bounds=of_others)}")
        execute("ANALYZE month_used")
        owed, rounding = print_charges(CHARGES, arguments, currency=currency, fx_rate=fx_rate)
        whole = read_whole(arguments, rows=rows, figures=OF_STATEMENT)
        exact = sum((sums["exact_usd"] for sums in read_rows(_CENTERS, {})), start=Decimal(0))
        try:
            require_equal(str(period), exact, whole.figures["billed_cost_usd"])
        except Unbalanced as error:
            raise UnbalancedStatement(str(error)) from error
        yield PeriodLines(made_lines(), whole, owed, exact, rounding)


def print_charges(
    charges: str, arguments: Mapping[str, Any], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> tuple[dict[str, Decimal], Decimal]:
    """Print charges, which are SQL, into `month_line`; what each cost centre owes, and the sum of all rounding.

    An amount is rounded once, where it is owed, by the largest remainder where that is divided.
    """
    digits = line_digits(currency)
    scale = {"digits": digits, "unit": Decimal(1).scaleb(-digits), "power": 10**digits, "fx_rate": fx_rate}
    execute(_CHARGE.format(charges=charges), {**arguments, **scale})
    execute("ANALYZE month_charge")
    execute(_PRINT, scale)
    execute("DROP TABLE month_charge")
    execute("CREATE INDEX ON month_line (place)")
    centers = read_rows(_CENTERS, {})
    owed = divide_owed(
        {one["cost_center"]: one["exact_usd"] for one in centers}, currency=currency, fx_rate=fx_rate
    )
    rest = [(one, owed[one["cost_center"]] - one["amount"]) for one in centers]
    rounded = [(one["cost_center"], amount, one["last"] + Decimal("0.5")) for one, amount in rest if amount]
    names, amounts, places = map(list, zip(*rounded, strict=True)) if rounded else ([], [], [])
    execute(_ROUND, {"centers": names, "amounts": amounts, "places": places})
    execute("ANALYZE month_line")
    return owed, sum(amounts, start=Decimal(0))


def made_lines() -> Streamed[PeriodLine]:
    """The printed lines of the month in hand."""
    count = read_rows("SELECT count(*) AS count FROM month_line", {})[0]["count"]
    return Streamed(partial(_read, _READ, {}), count=count, sums={})


def exact_parts() -> list[tuple[str, str, Decimal]]:
    """What the lines of the month in hand make in USD, by cost centre and category."""
    return [(one["cost_center"], one["category"], one["exact_usd"]) for one in read_rows(_PARTS, {})]


def store_lines(statement_id: int) -> None:
    """Keep the printed lines of the month in hand as those of a statement."""
    execute(_STORE, {"statement": statement_id})


def texts_of_made() -> Iterator[str]:
    """The printed lines of the month in hand as text, a few at a time."""
    return (text for (text,) in stream_rows(_TEXT_OF_MADE, {}))


def texts_of_stored(statement_id: int) -> Iterator[str]:
    """The same of a statement's lines."""
    return (text for (text,) in stream_rows(_TEXT_OF_STORED, {"statement": statement_id}))


def csv_of_made() -> Iterator[str]:
    """The printed lines of the month in hand as rows of CSV, each with its number and the values of a PeriodLine."""
    with connection.cursor() as cursor, cursor.copy(_AS_CSV) as copy:
        for row in copy:
            yield str(row, "utf-8").removesuffix("\n")


def values_of(line: PeriodLine) -> tuple[object, ...]:
    """A line as the first digests read it: as it always was, and with a later column where that has a value."""
    *values, certainty = astuple(line)
    return (*values, certainty) if certainty else tuple(values)


def _read(query: str, arguments: Mapping[str, Any]) -> Iterator[PeriodLine]:
    return (PeriodLine(*row) for row in stream_rows(query, arguments))
