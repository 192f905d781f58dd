"""The month as an XLSX workbook: a summary, the savings waterfall, the reconciliation, a sheet per section, the detail.

Invariant: every amount is there twice, as a number to calculate with and as exact text, because a spreadsheet
keeps 15 digits; no text becomes a formula or a link.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date
from decimal import Decimal
from itertools import islice
from operator import attrgetter
from typing import BinaryIO

import xlsxwriter
from django.conf import settings
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from billing.months.exports.cells import exact
from billing.months.exports.detail_csv import DETAIL_COLUMNS, detail_values
from billing.months.exports.sheets import write_rows
from billing.months.parts import Invoice, Margin, Measures, MonthReport, Reconciliation, Section, Sure

ROWS_OF_A_SHEET = 1_000_000  # a spreadsheet ends after 1,048,576
MEASURES = tuple(field.name for field in fields(Measures))
_measures_of = attrgetter(*MEASURES)


def write_xlsx(report: MonthReport, out: BinaryIO) -> None:
    """Write the workbook. A row is on disk when the next one is written, so memory does not grow with the month."""
    workbook = xlsxwriter.Workbook(
        out,
        {
            "strings_to_formulas": False,
            "strings_to_numbers": False,
            "strings_to_urls": False,
            "constant_memory": True,
            "use_zip64": True,
            "tmpdir": settings.FILE_UPLOAD_TEMP_DIR,
        },
    )
    workbook.set_properties(
        {"title": f"{report.tenant_name} {report.month}", "created": report.made_at.replace(tzinfo=None)}
    )
    looks = _looks(workbook)
    _summary(workbook.add_worksheet("Summary"), report, looks)
    _waterfall(workbook.add_worksheet("Savings"), report, looks)
    _reconciliation(workbook.add_worksheet("Reconciliation"), report, looks)
    for section in report.sections:
        _section(workbook, section, report.totals, looks)
    if report.tenants:
        rows = map(astuple, report.margins)
        _table(workbook.add_worksheet("Margin"), tuple(field.name for field in fields(Margin)), rows, looks)
    _detail(workbook, report, looks)
    workbook.close()


@dataclass(frozen=True, slots=True)
class Looks:
    header: Format
    title: Format
    total: Format
    total_usd: Format
    usd: Format
    count: Format
    day: Format


def _looks(workbook: Workbook) -> Looks:
    bold = {"bold": True}
    usd = {"num_format": "#,##0.00####"}
    count = {"num_format": "#,##0"}
    line = {"top": 1}
    return Looks(
        header=workbook.add_format(
            bold | {"bg_color": "#E8ECF4", "bottom": 1, "text_wrap": True, "valign": "top"}
        ),
        title=workbook.add_format(bold | {"font_size": 14}),
        total=workbook.add_format(bold | line | count),
        total_usd=workbook.add_format(bold | line | usd),
        usd=workbook.add_format(usd),
        count=workbook.add_format(count),
        day=workbook.add_format({"num_format": "yyyy-mm-dd"}),
    )


def _summary(sheet: Worksheet, report: MonthReport, looks: Looks) -> None:
    sheet.write_string(0, 0, f"{report.tenant_name}: usage in {report.month}", looks.title)
    facts = (
        ("Tenant", report.tenant_slug),
        ("Time zone", report.timezone),
        ("From", report.starts_at.isoformat()),
        ("Until (exclusive)", report.ends_at.isoformat()),
        ("Period", report.period_status),
        ("Rows", "as booked in the period, whenever the calls were"),
        ("Made at", report.made_at.isoformat(timespec="seconds")),
    )
    for row, (name, value) in enumerate(facts, start=2):
        sheet.write_string(row, 0, name)
        sheet.write_string(row, 1, value)
    first = len(facts) + 3
    _figures(
        sheet,
        first,
        ("Total of the ledger", "Number", "Exact"),
        zip(MEASURES, astuple(report.totals), strict=True),
        looks,
    )
    names = tuple(field.name for field in fields(Sure))
    below = first + len(MEASURES) + 2
    _header(sheet, below, ("How sure it is", *map(_heading, names[1:])), looks)
    for row, sure in enumerate(report.certainty, start=below + 1):
        sheet.write_string(row, 0, _heading(sure.certainty))
        sheet.write_number(row, 1, sure.records, looks.count)
        for column, amount in enumerate((sure.amount_usd, sure.least_usd, sure.most_usd), start=2):
            sheet.write_string(row, column, exact(amount))


def _waterfall(sheet: Worksheet, report: MonthReport, looks: Looks) -> None:
    steps = ((step.name, step.amount_usd) for step in report.waterfall)
    _figures(sheet, 0, ("Step", "Off the list price, USD", "Exact"), steps, looks)
    sheet.freeze_panes(1, 0)


def _reconciliation(sheet: Worksheet, report: MonthReport, looks: Looks) -> None:
    """From what happened in the month, as `/v1/usage` has it, to what is booked in it, and asked for."""
    by = report.reconciliation
    rows = [(field.name, getattr(by, field.name)) for field in fields(Reconciliation)]
    if report.invoice is not None:
        rows += payable_rows(report.invoice, by.booked_usd)
    if report.rate is not None:
        name = report.rate.currency.lower()
        rows.append((f"rate_{name}_for_one_usd", report.rate.rate))
        rows.append((f"booked_{name}", by.booked_usd * report.rate.rate))
    _figures(sheet, 0, ("Amount", "USD", "Exact"), rows, looks)
    sheet.freeze_panes(1, 0)


def payable_rows(invoice: Invoice, booked_usd: Decimal) -> list[tuple[str, Decimal]]:
    """From what is booked to what is asked for, in its currency."""
    name = invoice.currency.lower()
    if invoice.currency == "USD":
        return [
            ("rounding_usd", invoice.total - booked_usd),
            ("payable_usd", invoice.total),
            *_set_off_rows(invoice),
        ]
    exact_amount = booked_usd * invoice.fx_rate
    return [
        (f"rate_{name}_for_one_usd", invoice.fx_rate),
        (f"booked_{name}", exact_amount),
        (f"rounding_{name}", invoice.total - exact_amount),
        (f"payable_{name}", invoice.total),
        *_set_off_rows(invoice),
    ]


def _set_off_rows(invoice: Invoice) -> list[tuple[str, Decimal]]:
    """What was paid ahead, and what is due with the tax."""
    name = invoice.currency.lower()
    rows = [(f"tax_{name}", invoice.tax)] if invoice.tax else []
    if not invoice.set_off:
        return []
    return [*rows, (f"paid_ahead_{name}", invoice.set_off), (f"due_{name}", invoice.due)]


def _figures(
    sheet: Worksheet, first: int, titles: Sequence[str], rows: Iterable[tuple[str, object]], looks: Looks
) -> None:
    """Write a header and named figures, each as a number and as exact text."""
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 4, 24)
    _header(sheet, first, titles, looks)
    for row, (name, value) in enumerate(rows, start=first + 1):
        sheet.write_string(row, 0, _heading(name))
        _write(sheet, row, 1, value, looks)
        sheet.write_string(row, 2, exact(value) if isinstance(value, Decimal) else str(value))


def _section(workbook: Workbook, section: Section, totals: Measures, looks: Looks) -> None:
    rows = ((*group.labels, *_measures_of(group.measures)) for group in section.groups)
    names = (*section.dimensions, *MEASURES)
    sheet, last = _tables(workbook, section.title, names, rows, looks, count=len(section.groups))
    if section.wholes != 1:
        return
    labels = ("Total", *[""] * (len(section.dimensions) - 1))
    for column, value in enumerate((*labels, *astuple(totals))):
        _write(sheet, last + 1, column, value, looks, total=True)
    for offset, value in enumerate(_amounts(astuple(totals))):
        sheet.write_string(last + 1, len(labels) + len(MEASURES) + offset, exact(value), looks.total)


def _detail(workbook: Workbook, report: MonthReport, looks: Looks) -> None:
    names = ("tenant", *DETAIL_COLUMNS) if report.tenants else DETAIL_COLUMNS
    rows = (
        (line.tenant, *detail_values(line)) if report.tenants else detail_values(line)
        for line in report.detail
    )
    _tables(workbook, "Detail", names, rows, looks, count=len(report.detail))


def _tables(
    workbook: Workbook,
    title: str,
    names: Sequence[str],
    rows: Iterable[Sequence[object]],
    looks: Looks,
    *,
    count: int,
) -> tuple[Worksheet, int]:
    """Write rows on as many sheets as a spreadsheet's last row asks for; a row past it would be lost without a word.

    The last sheet, and its last row.
    """
    left = iter(rows)
    for number in range(max(-(-count // ROWS_OF_A_SHEET), 1)):
        sheet = workbook.add_worksheet(f"{title} {number + 1}" if number else title)
        last = _table(sheet, names, islice(left, ROWS_OF_A_SHEET), looks)
    return sheet, last


def _table(sheet: Worksheet, names: Sequence[str], rows: Iterable[Sequence[object]], looks: Looks) -> int:
    """Write a header and rows, each amount again as exact text at the right; return the last row."""
    amounts = [name for name in names if name.endswith("_usd")]
    _header(sheet, 0, (*map(_heading, names), *(f"{_heading(name)} (exact)" for name in amounts)), looks)
    sheet.set_column(0, len(names) + len(amounts) - 1, 16)
    number = write_rows(
        sheet,
        rows,
        exacts=[place for place, name in enumerate(names) if name.endswith("_usd")],
        usd=looks.usd,
        count=looks.count,
        day=looks.day,
    )
    sheet.freeze_panes(1, 0)
    if number:
        sheet.autofilter(0, 0, number, len(names) + len(amounts) - 1)
    return number


def _header(sheet: Worksheet, row: int, titles: Sequence[str], looks: Looks) -> None:
    for column, title in enumerate(titles):
        sheet.write_string(row, column, title, looks.header)


def _write(
    sheet: Worksheet, row: int, column: int, value: object, looks: Looks, *, total: bool = False
) -> None:
    match value:
        case None:
            pass
        case Decimal():
            sheet.write_number(row, column, float(value), looks.total_usd if total else looks.usd)
        case int():
            sheet.write_number(row, column, value, looks.total if total else looks.count)
        case date():
            sheet.write_datetime(row, column, value, looks.day)
        case Mapping():
            if value:
                sheet.write_string(row, column, json.dumps(value, sort_keys=True, ensure_ascii=False))
        case _:
            sheet.write_string(row, column, str(value), looks.total if total else None)


def _amounts(values: Sequence[object]) -> list[Decimal]:
    return [value for value in values if isinstance(value, Decimal)]


def _heading(name: str) -> str:
    return (
        name.replace("_", " ").replace("usd", "USD").capitalize().replace("usd", "USD").replace("Api", "API")
    )
