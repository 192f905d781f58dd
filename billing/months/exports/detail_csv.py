"""The month as one flat CSV: a row per day, user, key, feature, model and meter.

Policy: there is no totals row, so that the sum of a column is the ledger's sum. A `request` row carries the number of requests
and of calls, and the saving; its token meters have rows of their own. Costs that no meter explains, such as a credit, are in a
row whose meter is the kind of the record. Every cell is quoted.
"""

import csv
from itertools import chain, groupby
from operator import attrgetter
from typing import TextIO

from billing.months.detail import DETAIL_LABELS
from billing.months.exports.cells import UNGUARDED, cell, exact_texts
from billing.months.parts import DetailLine, MonthReport

FIGURES = (
    *(
        "meter",
        "quantity",
        "requests",
        "calls",
        "per",
        "unit_price_usd",
        "list_cost_usd",
        "contracted_cost_usd",
    ),
    *("billed_cost_usd", "saved_usd"),
)
DETAIL_COLUMNS = ("day", *DETAIL_LABELS, "tags", *FIGURES)
BOM = "\ufeff"
_figures_of = attrgetter(*FIGURES)


def write_csv(report: MonthReport, out: TextIO) -> None:
    """Write the month's detail as RFC 4180 CSV; `out` must not translate newlines."""
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("tenant", "month", *DETAIL_COLUMNS, UNGUARDED))
    for _, lines in groupby(report.detail, key=lambda line: (line.tenant, line.day, line.labels, line.tags)):
        first = next(lines)
        named = (
            first.tenant or report.tenant_slug,
            report.month,
            first.day,
            *first.labels.values(),
            first.tags,
        )
        cells, changed = [cell(value) for value in named], exact_texts(first.labels)
        for line in chain((first,), lines):
            writer.writerow((*cells, *map(cell, _figures_of(line)), changed))


def write_csv_with_bom(report: MonthReport, out: TextIO) -> None:
    """The same for spreadsheets that take UTF-8 for another encoding without a mark."""
    out.write(BOM)
    write_csv(report, out)


def detail_values(line: DetailLine) -> tuple[object, ...]:
    """A line's values, as DETAIL_COLUMNS names them."""
    return (line.day, *line.labels.values(), line.tags, *_figures_of(line))
