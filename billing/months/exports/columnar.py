"""Files of rows as Parquet, for warehouses: exact decimals, days as days, texts as they are.

Invariant: rows go in groups of a fixed number, so that memory does not grow with the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from billing.months.exports.detail_csv import DETAIL_COLUMNS, detail_values
from billing.months.parts import DetailLine, MonthReport

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_OF_A_GROUP = 20_000
ROWS_AT_ONCE = 2_000  # as many are there as Python's values, which are larger
DIGITS, PLACES = 38, 18  # holds any sum of amounts with 12 places, and any unit price

# The columns that are no texts.
_TYPES: Mapping[str, type] = {
    "day": date,
    "tags": dict,
    **dict.fromkeys(("quantity", "requests", "calls", "per"), int),
    **dict.fromkeys(
        ("unit_price_usd", "list_cost_usd", "contracted_cost_usd", "billed_cost_usd", "saved_usd"), Decimal
    ),
}


def write_parquet(report: MonthReport, out: BinaryIO) -> None:
    """Write the month's detail: the columns of the CSV, with types."""
    columns = {name: _TYPES.get(name, str) for name in ("tenant", "month", *DETAIL_COLUMNS)}
    write_rows(columns, (_values(report, line) for line in report.detail), out)


def write_rows(columns: Mapping[str, type], rows: Iterable[Sequence[Any]], out: BinaryIO) -> None:
    """Write rows of values in the order of the columns, whose Python types are str, int, float, Decimal, date, datetime, dict."""
    import pyarrow as pa  # noqa: PLC0415 large: only who writes such a file loads it
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in columns.items()])
    batches = _batches(schema, rows)
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        while group := list(islice(batches, ROWS_OF_A_GROUP // ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_batches(group).combine_chunks(), row_group_size=ROWS_OF_A_GROUP)


def _batches(schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa  # noqa: PLC0415 large: only who writes such a file loads it

    left, are_maps = iter(rows), [pa.types.is_map(field.type) for field in schema]
    while some := list(islice(left, ROWS_AT_ONCE)):
        arrays = [
            pa.array(map(_written, values) if is_map else values, field.type)
            for values, field, is_map in zip(zip(*some, strict=True), schema, are_maps, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _arrow_type(kind: type) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415 large: only who writes such a file loads it

    types = {
        int: pa.int64(),
        float: pa.float64(),
        Decimal: pa.decimal128(DIGITS, PLACES),
        date: pa.date32(),
        datetime: pa.timestamp("ms", tz="UTC"),
        dict: pa.map_(pa.string(), pa.string()),
    }
    return types.get(kind, pa.string())


def _values(report: MonthReport, line: DetailLine) -> tuple[object, ...]:
    return (line.tenant or report.tenant_slug, report.month, *detail_values(line))


def _written(value: Mapping[str, object] | None) -> list[tuple[str, str]] | None:
    """A map as Arrow takes it, of texts. A tag of ours may be a number."""
    if value is None:
        return None
    return sorted((name, tag if isinstance(tag, str) else json.dumps(tag)) for name, tag in value.items())
