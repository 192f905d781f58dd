"""Every format of a month says the same, to the last digit, and none of what people wrote becomes anything but text."""

import io
import json
import subprocess
from decimal import Decimal
from shutil import which
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

from billing.models import BillingPeriod
from billing.months.exports.columnar import ROWS_OF_A_GROUP, write_rows
from billing.months.exports.detail_csv import DETAIL_COLUMNS
from tenants.models import EndUser
from tests.billing.months.reports.conftest import Books
from tests.billing.months.reports.test_reports import november, rows_of, written

AMOUNTS = ("list_cost_usd", "contracted_cost_usd", "billed_cost_usd", "saved_usd")
COUNTS = ("quantity", "requests", "calls")


def pages_of(pdf: bytes) -> str:
    if which("pdftotext") is None:
        pytest.skip("pdftotext is missing: install poppler-utils")
    run = subprocess.run(["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True)
    return run.stdout.decode()


def lines_of_sheets(data: bytes) -> list[dict[str, Any]]:
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    header, *rows = book["Detail"].iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


async def test_it_works(books: Books) -> None:
    report = await november(books)
    told = json.loads(written(report, "json"))
    table = pq.read_table(io.BytesIO(written(report, "parquet"))).to_pylist()
    rows = rows_of(written(report, "csv"))
    assert len(told["detail"]) == len(table) == len(rows) == len(report.detail) > 0
    for name in AMOUNTS:
        exact = [getattr(line, name) for line in report.detail]
        assert [Decimal(line[name]) for line in told["detail"]] == exact
        assert [line[name] for line in table] == exact
        assert [Decimal(row[name]) for row in rows] == exact
    for name in COUNTS:
        exact = [getattr(line, name) for line in report.detail]
        assert [line[name] for line in told["detail"]] == exact
        assert [line[name] for line in table] == exact
        assert [int(row[name]) for row in rows] == exact
    assert Decimal(told["totals"]["billed_cost_usd"]) == report.totals.billed_cost_usd


async def test_texts_in_json_and_parquet_are_as_they_are_in_the_api(books: Books) -> None:
    report = await november(books)
    keys = {line.labels["api_key"] for line in report.detail}
    assert any(key.startswith(("=", "+", "-", "@")) for key in keys)
    told = json.loads(written(report, "json"))
    table = pq.read_table(io.BytesIO(written(report, "parquet")))
    assert {line["api_key"] for line in told["detail"]} == keys == set(table["api_key"].to_pylist())
    assert set(DETAIL_COLUMNS) <= set(table.column_names)


async def test_the_pages_say_what_the_report_says(books: Books) -> None:
    report = await november(books)
    text = pages_of(written(report, "pdf"))
    assert "The month is not closed" in text
    assert f"{report.totals.billed_cost_usd:f} USD" in text
    for section in report.sections:
        if section.name in ("models", "users"):
            for group in section.groups:
                assert f"{abs(group.measures.billed_cost_usd):.12f}" in text, (section.name, group.labels)
    for step in report.waterfall:
        assert f"{abs(step.amount_usd):.12f}" in text


async def test_the_same_report_makes_the_same_bytes(books: Books) -> None:
    report = await november(books)
    for format_name in ("pdf", "json", "parquet"):
        assert written(report, format_name) == written(report, format_name)


async def test_what_people_write_is_no_markup_on_the_pages(books: Books) -> None:
    hostile = '#panic("x") $1/0$ *b* _i_ @ref <label> [ ] \\ `raw` // end'
    await EndUser.objects.filter(tenant=books.tenant, external_id="alice").aupdate(display_name=hostile)
    text = pages_of(written(await november(books), "pdf"))
    for word in hostile.split():
        assert word in text, word


def test_a_tag_that_is_a_number_is_a_text_in_a_map() -> None:
    out = io.BytesIO()
    write_rows({"tags": dict}, [({"comparison": 7, "team": "7"},), ({},)], out)
    assert pq.read_table(out)["tags"].to_pylist() == [[("comparison", "7"), ("team", "7")], []]


def test_rows_go_into_groups_of_a_fixed_size() -> None:
    out = io.BytesIO()
    write_rows({"n": int, "text": str}, ((n, f"x{n}") for n in range(ROWS_OF_A_GROUP + 1)), out)
    file = pq.ParquetFile(out)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [ROWS_OF_A_GROUP, 1]


async def test_a_period_that_is_open_is_called_so_everywhere(books: Books) -> None:
    report = await november(books)
    assert json.loads(written(report, "json"))["period_status"] == BillingPeriod.Status.OPEN
    assert json.loads(written(report, "json"))["invoice"] is None
