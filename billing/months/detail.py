"""The lines of a month: each meter of each cut, and one `request` line per cut that carries what no meter explains.

A cut is what is equal in every dimension. Its request line counts its requests; its amount is nothing on metered calls, and the
whole amount of a credit.

Invariant: the lines of a cut make its costs, and stand together, so that reading them needs the memory of one cut.
"""

import json
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from billing.ledger.dimensions import REPORTED
from billing.ledger.measures import LISTED, usd
from billing.months.cuts import (
    COSTS,
    LINES,
    ROWS,
    SUMMED,
    bounds_of_lines,
    execute,
    read_rows,
    stream_rows,
)
from billing.months.parts import NOTHING, DetailLine, Streamed

TABLES: Final = ("month_cut", "month_meter", "month_detail")

# The labels of a dimension that has others than its value.
_NAMED: Final = {"user_id": ("user",), "key_id": ("api_key", "api_key_id")}
DETAIL_LABELS: Final = (
    *(label for column in REPORTED for label in _NAMED.get(column, (column,))),
    *("certainty", "reason"),
)
_SORTED_FIRST: Final = ("user", "api_key", "api_key_id", "feature", "provider", "model")
_SORTED: Final = (*_SORTED_FIRST, *(label for label in DETAIL_LABELS if label not in _SORTED_FIRST))

_CUT: Final = ("tenant_id", "day", *REPORTED, "certainty", "reason", "tags")
_NUMBERS: Final = ", ".join(str(number) for number in range(1, len(_CUT) + 1))
_OF_ROW: Final = ", ".join(f"r.{name}" for name in _CUT)
_NAMES: Final = ", ".join(_CUT)
_MAKE_CUTS: Final = f"""
CREATE TEMPORARY TABLE month_cut ON COMMIT DROP AS
SELECT {_OF_ROW}, {", ".join(f"{sql} AS {name}" for name, sql in SUMMED.items())}
FROM {ROWS} GROUP BY {_NUMBERS}
"""
_METERS: Final = f"""
SELECT {_OF_ROW}, l.meter, l.per, l.unit_price, sum(l.quantity)::bigint AS quantity, count(*) AS rows,
       sum(l.list_cost) AS own_list_usd, {usd("l.list_cost", LISTED)} AS list_cost_usd,
       sum(l.contracted_cost) AS contracted_cost_usd, sum(l.billed_cost) AS billed_cost_usd
FROM {LINES} WHERE {{bounds}} GROUP BY {_NUMBERS}, l.meter, l.per, l.unit_price
"""
_LABELS: Final = {
    "user": "d.user_id",
    "api_key": "coalesce(k.name, '')",
    "api_key_id": "coalesce(k.public_id, '')",
}
_PLACE: Final = ", ".join(
    (
        *("tenant", "day", *(f'"{label}" COLLATE "C"' for label in _SORTED), "key_id", "tags"),
        *("is_rest", 'meter COLLATE "C"', "coalesce(unit_price, 0)", "per"),
    )
)
# A saving and the counts are those of the cut, on its last line.
_MAKE_DETAIL: Final = f"""
CREATE TEMPORARY TABLE month_detail ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY {_PLACE}) AS place, lines.*
FROM (
    SELECT d.tenant_id, t.slug COLLATE "C" AS tenant, d.day, d.key_id,
           {", ".join(f'{_LABELS.get(label, f"d.{label}")} AS "{label}"' for label in DETAIL_LABELS)},
           d.tags, d.is_rest, d.meter, d.quantity, d.requests, d.calls, d.rows, d.per, d.unit_price, d.own_list_usd,
           {", ".join(f"d.{name}" for name in COSTS)}, d.saved_usd
    FROM (
        SELECT {_NAMES}, false AS is_rest, meter, quantity, 0 AS requests, 0 AS calls, rows, per, unit_price, own_list_usd,
               {", ".join(COSTS)}, 0::numeric AS saved_usd
        FROM month_meter
        UNION ALL
        SELECT {_NAMES}, true, CASE kind WHEN 'usage' THEN 'request' ELSE kind END,
               (CASE kind WHEN 'usage' THEN sum(requests) ELSE sum(rows) END)::bigint, sum(requests)::bigint,
               sum(calls)::bigint, sum(rows)::bigint, 1, NULL, sum(billed_cost_usd),
               {", ".join(f"sum({name})" for name in COSTS)}, sum(saved_usd)
        FROM (
            SELECT {_NAMES}, requests, calls, rows, {", ".join(COSTS)}, saved_usd FROM month_cut
            UNION ALL
            SELECT {_NAMES}, 0, 0, 0, {", ".join(f"-{name}" for name in COSTS)}, 0 FROM month_meter
        ) AS parts GROUP BY {_NAMES}
    ) AS d
    JOIN tenants_tenant AS t ON t.id = d.tenant_id
    LEFT JOIN tenants_apikey AS k ON k.id = d.key_id AND k.tenant_id = d.tenant_id
) AS lines
"""
_SUMMED: Final = ("requests", "calls", *COSTS, "saved_usd")
_SUMS: Final = f"""
SELECT tenant_id, count(*) AS count, min(place) AS first, max(place) AS last,
       {", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in _SUMMED)}
FROM month_detail GROUP BY tenant_id
"""
# What tells a cut from the next; then what stands on its lines.
_TOLD: Final = ("tenant_id", "tenant", "day", "key_id", *DETAIL_LABELS, "tags")
_FIGURES: Final = (
    *("is_rest", "meter", "quantity", "requests", "calls", "rows", "per", "unit_price"),
    *(*COSTS, "saved_usd", "own_list_usd"),
)
_READ: Final = f"""
SELECT {", ".join(f'"{name}"' for name in (*_TOLD, *_FIGURES))} FROM month_detail
WHERE place BETWEEN %(first)s AND %(last)s ORDER BY place
"""


def make_cuts() -> None:
    """Group the copied rows into cuts, the table `month_cut`."""
    execute(_MAKE_CUTS)
    execute("ANALYZE month_cut")


def make_lines() -> None:
    """Make the lines of the copied months, the table `month_detail`, of their cuts."""
    of_time, of_others = bounds_of_lines()
    execute(f"CREATE TEMPORARY TABLE month_meter ON COMMIT DROP AS {_METERS.format(bounds=of_time)}")
    execute(f"INSERT INTO month_meter {_METERS.format(bounds=of_others)}")
    execute("ANALYZE month_meter")
    execute(_MAKE_DETAIL)
    execute("CREATE INDEX ON month_detail (place)")
    execute("ANALYZE month_detail")
    execute("DROP TABLE month_meter")


def read_lines() -> dict[int, Streamed[DetailLine]]:
    """The lines by tenant; those of tenant 0 are all of them, each with its tenant's name."""
    found = {row.pop("tenant_id"): row for row in read_rows(_SUMS, {})}
    everything = {name: sum(sums[name] for sums in found.values()) for name in ("count", *_SUMMED)}
    everything |= {"first": 1, "last": everything["count"]}
    return {
        tenant: _streamed(sums, with_tenant=not tenant) for tenant, sums in (found | {0: everything}).items()
    }


def no_lines() -> Streamed[DetailLine]:
    """The lines of a tenant that has none."""
    return _streamed(dict.fromkeys(("count", "first", "last", *_SUMMED), 0), with_tenant=False)


def _streamed(sums: dict[str, Any], *, with_tenant: bool) -> Streamed[DetailLine]:
    of_cuts = {f"charge_{name}": sums[name] for name in ("requests", "saved_usd")}
    return Streamed(partial(_read, sums, with_tenant), count=int(sums["count"]), sums=sums | of_cuts)


def _read(bounds: dict[str, Any], with_tenant: bool) -> Iterator[DetailLine]:
    rows = stream_rows(_READ, {name: bounds[name] for name in ("first", "last")})
    for cut, its in groupby(rows, key=itemgetter(slice(0, len(_TOLD)))):
        yield from _lines(cut, [row[len(_TOLD) :] for row in its], with_tenant)


def _lines(cut: tuple[Any, ...], rows: list[tuple[Any, ...]], with_tenant: bool) -> Iterator[DetailLine]:
    """The lines of one cut. Its counts stand once more on the first, for files that have no other lines."""
    _, slug, day, _, *values, tags = cut
    labels, tags = dict(zip(DETAIL_LABELS, values, strict=True)), json.loads(tags)
    its_requests, its_saved = rows[-1][3], rows[-1][11]
    for is_first, row in zip((True, *(False for _ in rows[1:])), rows, strict=True):
        (
            _, meter, quantity, requests, calls, count, per, unit_price, listed, contracted, billed, saved, own_list,
        ) = row  # fmt: skip
        yield DetailLine(
            day=day,
            labels=labels,
            meter=meter,
            quantity=quantity,
            requests=requests,
            calls=calls,
            rows=count,
            per=per,
            unit_price_usd=unit_price,
            list_cost_usd=listed,
            contracted_cost_usd=contracted,
            billed_cost_usd=billed,
            saved_usd=saved,
            tags=tags,
            own_list_usd=own_list,
            charge_requests=its_requests if is_first else 0,
            charge_saved_usd=its_saved if is_first else NOTHING,
            tenant=slug if with_tenant else "",
        )
