"""The files of a closed month: built once, stored, and delivered byte for byte from then on.

Invariant: a stored file is never built again. Everyone who asks for a closed month gets these bytes, even if the
code, the prices or the users' names have changed since.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import astuple, fields, replace
from datetime import datetime

from billing.models import BillingPeriod, StatementFile
from billing.months.exports import FORMATS, export, file_name
from billing.months.exports.cells import cell
from billing.months.lines import PeriodLine
from billing.months.report import month_report
from tenants.models import Tenant

STATEMENT_FORMAT = "statement"
COLUMNS = tuple(field.name for field in fields(PeriodLine))


def build(
    tenant: Tenant, period: BillingPeriod, lines: Sequence[PeriodLine], *, code: str, issued_at: datetime
) -> list[StatementFile]:
    """The files of a month that is being closed, not stored yet: its statement, and the report in every format."""
    report = replace(
        month_report(tenant, month=period.label),
        period_status="closed",
        made_at=issued_at,
        statement_code=code,
    )
    files = [
        _file(
            STATEMENT_FORMAT,
            f"{tenant.slug}-{code}.csv",
            "text/csv; charset=utf-8",
            statement_csv(lines, code=code),
        )
    ]
    for name, kind in FORMATS.items():
        buffer = io.BytesIO()
        export(report, name, buffer)
        files.append(_file(name, file_name(report, name), kind.content_type, buffer.getvalue()))
    return files


def statement_csv(lines: Sequence[PeriodLine], *, code: str) -> bytes:
    """A statement's lines as RFC 4180 CSV; the column `amount` adds up to its total."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("statement", "line_no", *COLUMNS))
    for number, line in enumerate(lines, 1):
        writer.writerow((code, number, *map(cell, astuple(line))))
    return out.getvalue().encode()


def _file(format_name: str, name: str, content_type: str, content: bytes) -> StatementFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return StatementFile(
        format=format_name, name=name, content_type=content_type, sha256=sha256, content=content
    )
