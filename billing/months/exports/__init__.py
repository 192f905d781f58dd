"""The files finance takes away: one function for all formats, the same from the command and from the admin.

It owns file formats. It does not own figures: a format is a function from a `MonthReport` (`billing/months/parts.py`) to bytes,
and every figure in it is one of the report's.

Invariant: a file is written only from a report that balances, so its amounts add up to the ledger.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, TextIO

from billing.months.exports import focus
from billing.months.exports.columnar import write_parquet
from billing.months.exports.detail_csv import write_csv, write_csv_with_bom
from billing.months.exports.month_json import write_json
from billing.months.exports.pages.pdf import write_pdf
from billing.months.exports.workbook import write_xlsx
from billing.months.parts import MonthReport


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: what it is called, and how a report is written into it."""

    label: str
    suffix: str
    content_type: str
    write: Callable[[MonthReport, BinaryIO], None]


def export(report: MonthReport, format_name: str, out: BinaryIO) -> None:
    """Write the report in one of FORMATS."""
    FORMATS[format_name].write(report, out)


def file_name(report: MonthReport, format_name: str) -> str:
    """Return what the file is called: "acme-2026-11.xlsx"."""
    return name_of(report, FORMATS[format_name])


def name_of(report: MonthReport, kind: Format) -> str:
    """Return what a file of a kind is called."""
    return f"{report.tenant_slug}-{report.month}{kind.suffix}"


def formats_of(format_name: str, *, profile: str = focus.DEFAULT) -> tuple[Format, ...]:
    """The kinds of files of a format: one, of FOCUS one for each data set of the version."""
    if format_name not in _FOCUS:
        return (FORMATS[format_name],)
    return tuple(map(_FOCUS[format_name], focus.PROFILES[profile]))


def _as_text(write: Callable[[MonthReport, TextIO], None]) -> Callable[[MonthReport, BinaryIO], None]:
    def write_utf8(report: MonthReport, out: BinaryIO) -> None:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        write(report, text)
        text.detach()

    return write_utf8


def _focus_csv(data_set: focus.DataSet) -> Format:
    write = _as_text(partial(focus.write_csv, data_set))
    return Format(data_set.name, f".focus{data_set.suffix}.csv", _CSV, write)


def _focus_parquet(data_set: focus.DataSet) -> Format:
    write = partial(focus.write_parquet, data_set)
    return Format(f"{data_set.name}, Parquet", f".focus{data_set.suffix}.parquet", _PARQUET, write)


_CSV = "text/csv; charset=utf-8"
_PARQUET = "application/vnd.apache.parquet"
_FOCUS = {"focus": _focus_csv, "focus-parquet": _focus_parquet}
FORMATS = {
    "csv": Format("CSV, every detail", ".csv", _CSV, _as_text(write_csv)),
    "csv-bom": Format("CSV for Excel", ".excel.csv", _CSV, _as_text(write_csv_with_bom)),
    "xlsx": Format(
        "Excel workbook",
        ".xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        write_xlsx,
    ),
    "pdf": Format("PDF statement", ".pdf", "application/pdf", write_pdf),
    "json": Format("JSON, everything", ".json", "application/json", write_json),
    "parquet": Format("Parquet, every detail", ".parquet", _PARQUET, write_parquet),
    **{name: make(focus.PROFILES[focus.DEFAULT][-1]) for name, make in _FOCUS.items()},
}
# What can be asked for by name: each of them, and FOCUS in each of its versions.
ASKED: Mapping[str, tuple[Format, ...]] = {
    **{name: (kind,) for name, kind in FORMATS.items()},
    **{
        f"{name}-{profile}": formats_of(name, profile=profile)
        for name in _FOCUS
        for profile in focus.PROFILES
    },
}
STORED = ("csv", "xlsx", "pdf", "json", "focus")  # with the statement of a closed month
