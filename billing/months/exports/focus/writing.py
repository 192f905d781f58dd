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

from billing.months.exports.cells import cell, exact_texts
from billing.months.exports.columnar import write_rows
from billing.months.exports.focus.profiles import SPELLINGS, DataSet
from billing.months.parts import MonthReport

EXACT_TEXTS = "x_ExactTexts"


def write_csv(data_set: DataSet, report: MonthReport, out: TextIO) -> None:
    """Write RFC 4180 CSV; null is an empty cell. `x_ExactTexts` has the texts that a guard has changed."""
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(data_set.columns)
    names = [SPELLINGS.get(name, name) for name in data_set.columns]
    before, cells = [None] * len(names), [""] * len(names)
    for row in _rows(data_set, report):
        texts = exact_texts(row[EXACT_TEXTS]) if EXACT_TEXTS in row else None
        found = {**row, EXACT_TEXTS: texts}.get
        for place, name in enumerate(names):
            value = found(name)
            if value is not before[place]:  # most are what they were in the row before
                # at least one digit after the point: a column of whole numbers would be read as integers
                before[place], cells[place] = value, cell(value, places=1)
        writer.writerow(cells)


def write_parquet(data_set: DataSet, report: MonthReport, out: BinaryIO) -> None:
    """Write typed columns; JSON is text. There are no changed texts."""
    types = {name: data_set.types.get(name, str) for name in data_set.columns if name != EXACT_TEXTS}
    read = [(SPELLINGS.get(name, name), kind) for name, kind in types.items()]
    rows = ([_plain(row.get(name), kind) for name, kind in read] for row in _rows(data_set, report))
    write_rows(types, rows, out)


def _rows(data_set: DataSet, report: MonthReport) -> Iterator[Mapping[str, Any]]:
    """The rows of a tenant's month, or of each tenant's in turn: accounts, periods and invoices are theirs."""
    return chain.from_iterable(map(data_set.rows, report.tenants or (report,)))


def _plain(value: Any, kind: type) -> Any:
    its = value.__class__
    if its is str or value is None:
        return value
    if its is Decimal:
        return float(value) if kind is float else value
    match value:
        case datetime():
            return value.astimezone(UTC).replace(microsecond=0)
        case Mapping():
            return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)
        case _:
            return value
