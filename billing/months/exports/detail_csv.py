"""The month as one flat CSV: a row per day, user, key, feature, model and meter.

Policy: there is no totals row, so that the sum of a column is the ledger's sum. A `request` row carries the
number of calls (and a cache hit's saving); its token meters stand in rows of their own. Costs that no meter
explains, such as a credit, stand in a row whose meter is the kind of the record.
"""

import csv
from dataclasses import fields
from typing import TextIO

from billing.months.exports.cells import cell
from billing.months.report import DetailLine, Report

DETAIL_COLUMNS = tuple(field.name for field in fields(DetailLine) if field.name != "tags")


def write_csv(report: Report, out: TextIO) -> None:
    """Write the month's detail as RFC 4180 CSV; `out` must not translate newlines."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("tenant", "month", *DETAIL_COLUMNS))
    for line in report.detail:
        writer.writerow(
            (cell(report.tenant_slug), report.month, *(cell(getattr(line, name)) for name in DETAIL_COLUMNS))
        )
