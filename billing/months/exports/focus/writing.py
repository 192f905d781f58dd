"""Writes the rows of a FOCUS data set: CSV with every text guarded, Parquet with every text as it is.

Invariant: nothing is calculated here, and a row is written when it is read.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Any, BinaryIO, TextIO

from billing.months.exports.cells import exact, exact_texts, guarded, json_cell, zulu
from billing.months.exports.columnar import write_rows
from billing.months.exports.focus.profiles import SPELLINGS, DataSet
from billing.months.parts import MonthReport

EXACT_TEXTS = "x_ExactTexts"


def write_csv(data_set: DataSet, report: MonthReport, out: TextIO) -> None:
    """Write RFC 4180 CSV; null is an empty cell. `x_ExactTexts` has the texts that a guard has changed."""
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(data_set.columns)
    for row in _rows(data_set, report):
        writer.writerow(_cell(name, _value(row, name)) for name in data_set.columns)


def write_parquet(data_set: DataSet, report: MonthReport, out: BinaryIO) -> None:
    """Write typed columns; JSON is text. There are no changed texts."""
    names = [name for name in data_set.columns if name != EXACT_TEXTS]
    types = {name: data_set.types.get(name, str) for name in names}
    rows = (
        [_plain(_value(row, name), kind) for name, kind in types.items()] for row in _rows(data_set, report)
    )
    write_rows(types, rows, out)


def _rows(data_set: DataSet, report: MonthReport) -> Iterator[Mapping[str, Any]]:
    """The rows of a tenant's month, or of each tenant's in turn: accounts, periods and invoices are theirs."""
    return chain.from_iterable(map(data_set.rows, report.tenants or (report,)))


def _value(row: Mapping[str, Any], name: str) -> Any:
    return row.get(SPELLINGS.get(name, name))


def _cell(name: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case Decimal():
            # at least one digit after the point: a column of whole numbers would be read as integers
            return exact(value, places=1)
        case datetime():
            return zulu(value)
        case Mapping():
            return exact_texts(value) if name == EXACT_TEXTS else json_cell(dict(value))
        case _:
            return guarded(str(value))


def _plain(value: Any, kind: type) -> Any:
    match value:
        case Decimal() if kind is float:
            return float(value)
        case datetime():
            return value.astimezone(UTC).replace(microsecond=0)
        case Mapping():
            return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)
        case _:
            return value
