"""Rows written as text are what the library would have written, cell by cell."""

import io
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from xlsxwriter.worksheet import Worksheet

from billing.months.exports.cells import exact
from billing.months.exports.sheets import MOST_CHARACTERS, write_rows

Row = Sequence[Any]
# what a tenant may have called somebody, or something
ODD = (
    *(
        "alice",
        "=1+1",
        "<r><t>x</t></r>",
        "<r>",
        "a & b < c",
        ' "quoted" ',
        " ",
        "\t",
        "line\nbreak",
        "_x0041_",
        "\x01",
    ),
    *("\ufffe", "Müller", "😀", "x" * MOST_CHARACTERS, "0012", "http://example.org"),
)
AMOUNTS = tuple(map(Decimal, ("0", "0.000000000001", "-1234567.890123456789", "1e9", "2.50")))


def book(write: Callable[[Worksheet, dict[str, Any]], None]) -> list[list[tuple[Any, str]]]:
    out = io.BytesIO()
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    workbook = xlsxwriter.Workbook(out, options)
    looks = {
        "usd": workbook.add_format({"num_format": "#,##0.00####"}),
        "count": workbook.add_format({"num_format": "#,##0"}),
        "day": workbook.add_format({"num_format": "yyyy-mm-dd"}),
    }
    sheet = workbook.add_worksheet()
    sheet.write_string(0, 0, "Head")
    write(sheet, looks)
    workbook.close()
    found = openpyxl.load_workbook(io.BytesIO(out.getvalue())).active
    return [[(cell.value, cell.number_format) for cell in row] for row in found.iter_rows()]


def by_the_library(rows: Sequence[Row]) -> list[list[tuple[Any, str]]]:
    def write(sheet: Worksheet, looks: dict[str, Any]) -> None:
        for number, row in enumerate(rows, start=1):
            for column, value in enumerate(row):
                match value:
                    case Decimal():
                        sheet.write_number(number, column, float(value), looks["usd"])
                        sheet.write_string(number, len(row), exact(value))
                    case int():
                        sheet.write_number(number, column, value, looks["count"])
                    case date():
                        sheet.write_datetime(number, column, value, looks["day"])
                    case str() if value:
                        if value.startswith("<r>") and value.endswith("</r>"):
                            value = value.replace("<", "&lt;")  # the library would take it for its own markup
                        sheet.write_string(number, column, value)
        sheet.write_string(len(rows) + 1, 0, "Total")

    return book(write)


def by_us(rows: Sequence[Row]) -> list[list[tuple[Any, str]]]:
    def write(sheet: Worksheet, looks: dict[str, Any]) -> None:
        last = write_rows(sheet, rows, exacts=[2], **looks)
        assert last == len(rows)
        sheet.write_string(last + 1, 0, "Total")

    return book(write)


def same(rows: Sequence[Row]) -> bool:
    plain = [
        [(value.replace("&lt;", "<") if isinstance(value, str) else value, look) for value, look in row]
        for row in by_the_library(rows)
    ]
    return plain == by_us(rows)


def test_it_works() -> None:
    rows = [
        (text, number % 3 * 10**9, AMOUNTS[number % len(AMOUNTS)], date(2026, 11, 1 + number // 4))
        for number, text in enumerate(ODD)
    ]
    assert same(rows)
    assert [row[0][0] for row in by_us(rows)][1:4] == ["alice", "=1+1", "<r><t>x</t></r>"]


def test_what_is_empty_has_no_cell_and_stays_no_longer_than_it_is_empty() -> None:
    rows = [
        ("a", 1, Decimal(1), None),
        ("", 0, None, date(2026, 1, 1)),
        ("", 0, Decimal(2), None),
        ("a", 1, None, None),
    ]
    assert same(rows)
    found = by_us(rows)
    assert [row[0][0] for row in found] == ["Head", "a", None, None, "a", "Total"]
    assert [row[4][0] for row in found[1:5]] == ["1.00", None, "2.00", None]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(ODD), st.integers(0, 3), st.sampled_from(AMOUNTS), st.just(None)),
        max_size=8,
    )
)
def test_whatever_the_row_before_was(rows: list[Row]) -> None:
    assert same(rows)


def test_a_text_that_is_too_long_for_a_cell_is_cut() -> None:
    ((found, _),) = by_us([("y" * (MOST_CHARACTERS + 5), 1, None, None)])[1][:1]
    assert found == "y" * MOST_CHARACTERS


def test_tables_of_nothing_are_their_heads() -> None:
    assert [row[0][0] for row in by_us([])] == ["Head", "Total"]


@pytest.mark.parametrize("value", [{"b": 1, "a": "<&>"}, {}])
def test_an_object_is_its_json(value: dict[str, Any]) -> None:
    found = by_us([(value, 1, None, None)])
    assert found[1][0][0] == ('{"a": "<&>", "b": 1}' if value else None)
