"""The month as one flat CSV: a row per day, user, key, feature, model and meter.

Policy: there is no totals row, so that the sum of a column is the ledger's sum. A `request` row carries the
number of calls (and a cache hit's saving); its token meters have rows of their own. Costs that no meter
explains, such as a credit, are in a row whose meter is the kind of the record.
"""

import csv
from typing import TextIO

from billing.months.exports.cells import cell
from billing.months.report import DETAIL_LABELS, DetailLine, MonthReport

FIGURES = (
    *("meter", "quantity", "calls", "per", "unit_price_usd", "list_cost_usd", "contracted_cost_usd"),
    *("billed_cost_usd", "saved_usd"),
)
DETAIL_COLUMNS = ("day", *DETAIL_LABELS, *FIGURES)


def write_csv(report: MonthReport, out: TextIO) -> None:
    """Write the month's detail as RFC 4180 CSV; `out` must not translate newlines."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("tenant", "month", *DETAIL_COLUMNS))
    for line in report.detail:
        writer.writerow((cell(report.tenant_slug), report.month, *map(cell, detail_values(line))))


def detail_values(line: DetailLine) -> tuple[object, ...]:
    """A line's values, as DETAIL_COLUMNS names them."""
    return (line.day, *line.labels.values(), *(getattr(line, name) for name in FIGURES))
