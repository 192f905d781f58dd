"""The files of a closed month: each made once, stored, and delivered byte for byte from then on.

Invariant: a stored file is never made again. Everyone who asks for a closed month gets these bytes, even if the
code, the prices or the users' names have changed since. The lines of the statement are sealed with it; the report's files are
made of the closed ledger, which makes the same of them whenever that is.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import fields
from decimal import Decimal
from typing import IO, BinaryIO, Final, cast

from billing.models import Statement, StatementFile
from billing.months.exports import FORMATS, STORED, certificate_files, name_of
from billing.months.exports.cells import UNGUARDED, exact, exact_texts, guarded, is_plain
from billing.months.lines import PeriodLine, csv_of_made
from billing.months.parts import MonthReport
from billing.months.report import opened_month
from tenants import contents

STATEMENT_FORMAT: Final = "statement"
COLUMNS: Final = tuple(field.name for field in fields(PeriodLine))
_TEXTS: Final = frozenset(field.name for field in fields(PeriodLine) if field.type is str)
CSV: Final = "text/csv; charset=utf-8"

Keep = Callable[[StatementFile], None]
Watched = Callable[[str, MonthReport], MonthReport]


def sealed_lines(statement: Statement) -> StatementFile:
    """The file of a statement that is being issued: its lines, which are in hand. The row is not stored yet."""
    with contents.spool() as out:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        write_statement(text, code=statement.code, currency=statement.currency, fx_rate=statement.fx_rate)
        text.detach()
        name = f"{statement.tenant.slug}-{statement.code}.csv"
        return _kept(statement, STATEMENT_FORMAT, name, CSV, out, is_sealed=True)


def missing_formats(statement: Statement) -> list[str]:
    """The formats of the report and of the certificate that a closed month has no file of yet."""
    there = set(statement.files.values_list("format", flat=True))
    certified = certificate_files.FORMATS if statement.certificate else ()
    return [name for name in (*certified, *STORED) if name not in there]


def complete(
    statement: Statement,
    *,
    keep: Keep = StatementFile.save,
    watched: Watched = lambda label, report: report,
) -> int:
    """Make the files that a closed month lacks; how many. `watched` gets the report before each, and may watch it being read."""
    missing = missing_formats(statement)
    for name in missing:
        if name in certificate_files.FORMATS:
            keep(_certified(statement, name))
    reported = [name for name in missing if name not in certificate_files.FORMATS]
    if not reported:
        return len(missing)
    with opened_month(statement.tenant, month=statement.period.label, made_at=statement.issued_at) as report:
        for name in reported:
            kind = FORMATS[name]
            with contents.spool() as out:
                kind.write(watched(kind.label, report), cast(BinaryIO, out))
                file = _kept(statement, name, name_of(report, kind), kind.content_type, out, is_sealed=False)
            keep(file)
    return len(missing)


def _certified(statement: Statement, name: str) -> StatementFile:
    """A file of the statement's certificate."""
    suffix, content_type = certificate_files.FORMATS[name]
    with contents.spool() as out:
        certificate_files.write_file(statement.certified, name, cast(BinaryIO, out))
        file_name = f"{statement.tenant.slug}-{statement.code}.{suffix}"
        return _kept(statement, name, file_name, content_type, out, is_sealed=False)


def pieces_of(file: StatementFile) -> Iterator[bytes]:
    """The bytes of a file, piece by piece. Raises ContentMissing."""
    if file.content is not None:
        yield bytes(file.content)
        return
    yield from contents.pieces_of(file.statement.tenant_id, file.location)


def bytes_of(file: StatementFile) -> bytes:
    """All bytes of a file that is known to be small."""
    return b"".join(pieces_of(file))


def write_statement(
    out: io.TextIOBase, *, code: str, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> None:
    """The lines in hand as RFC 4180 CSV; the column `amount`, in the `currency`, adds up to its total.

    PostgreSQL writes the rows; those with a text that might start a formula are written again.
    """
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("statement", "line_no", *COLUMNS, "currency", "rate_for_one_usd", UNGUARDED))
    after = (currency, exact(fx_rate))
    head, tail = f'"{code}",', f',"{after[0]}","{after[1]}",""\r\n'
    for row in csv_of_made():
        if is_plain(row):
            out.write(f"{head}{row}{tail}")
        else:
            number, *values = next(csv.reader(io.StringIO(row, newline="")))
            texts = {name: value for name, value in zip(COLUMNS, values, strict=True) if name in _TEXTS}
            cells = {name: guarded(text) for name, text in texts.items()}
            found = (cells.get(name, value) for name, value in zip(COLUMNS, values, strict=True))
            writer.writerow((code, number, *found, *after, exact_texts(texts)))


def statement_csv(*, code: str) -> bytes:
    """The same as bytes, of few lines."""
    out = io.StringIO(newline="")
    write_statement(out, code=code)
    return out.getvalue().encode()


def _kept(
    statement: Statement, format_name: str, name: str, content_type: str, out: IO[bytes], *, is_sealed: bool
) -> StatementFile:
    """Store what was written; what a killed run left in its place is written over."""
    location = f"{statement.tenant_id}/statements/{statement.period_id}/{format_name}"
    sha256, size = fingerprint(out)
    contents.remove(statement.tenant_id, location)
    contents.save(statement.tenant_id, location, out)
    return StatementFile(
        statement=statement,
        format=format_name,
        name=name,
        content_type=content_type,
        sha256=sha256,
        size_bytes=size,
        location=location,
        is_sealed=is_sealed,
    )


def fingerprint(out: IO[bytes]) -> tuple[str, int]:
    """The sha256 of a file that was written, and its size."""
    out.seek(0)
    digest = hashlib.file_digest(out, "sha256")  # type: ignore[arg-type]
    return digest.hexdigest(), out.tell()
