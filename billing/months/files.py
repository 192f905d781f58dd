"""The files of a closed month: built once, stored, and delivered byte for byte from then on.

Invariant: a stored file is never built again. Everyone who asks for a closed month gets these bytes, even if the
code, the prices or the users' names have changed since.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import astuple, fields

from billing.models import StatementFile
from billing.months.exports import FORMATS, STORED, export, file_name
from billing.months.exports.cells import UNGUARDED, cell, exact_texts
from billing.months.lines import PeriodLine
from billing.months.parts import MonthReport

STATEMENT_FORMAT = "statement"
COLUMNS = tuple(field.name for field in fields(PeriodLine))


def build(report: MonthReport, lines: Sequence[PeriodLine], *, code: str) -> list[StatementFile]:
    """The files of a month that is being closed, not stored yet: its statement, and the report in every format."""
    files = [
        _file(
            STATEMENT_FORMAT,
            f"{report.tenant_slug}-{code}.csv",
            "text/csv; charset=utf-8",
            statement_csv(lines, code=code),
        )
    ]
    for name in STORED:
        buffer = io.BytesIO()
        export(report, name, buffer)
        files.append(_file(name, file_name(report, name), FORMATS[name].content_type, buffer.getvalue()))
    return files


def statement_csv(lines: Sequence[PeriodLine], *, code: str) -> bytes:
    """A statement's lines as RFC 4180 CSV; the column `amount` adds up to its total."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("statement", "line_no", *COLUMNS, UNGUARDED))
    for number, line in enumerate(lines, 1):
        values = dict(zip(COLUMNS, astuple(line), strict=True))
        writer.writerow((code, number, *map(cell, values.values()), exact_texts(values)))
    return out.getvalue().encode()


def _file(format_name: str, name: str, content_type: str, content: bytes) -> StatementFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return StatementFile(
        format=format_name, name=name, content_type=content_type, sha256=sha256, content=content
    )
