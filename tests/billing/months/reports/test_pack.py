"""The pack of one month: every format says the same to the last digit, and what SQL over the ledger says.

Nothing of the product reads the files here: each is read by a library for its format, and the ledger by SQL of this file.
"""

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from benchmarks.months import comparing
from billing.models import BillingPeriod
from billing.months.exports import export
from billing.months.report import opened_month
from tests.billing.months.reports.conftest import Books

MONTH = "2026-11"
METERS = """
SELECT to_char(r.occurred_at AT TIME ZONE p.timezone, 'YYYY-MM-DD'), r.user_id, r.provider, r.model, r.cost_center, l.meter,
       sum(l.quantity)::bigint, sum(l.billed_cost)
FROM billing_usagerecord r
JOIN billing_billingperiod p ON p.id = r.period_id
JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE r.tenant_id = %s AND p.label = %s GROUP BY 1, 2, 3, 4, 5, 6
"""
WHOLE = """
SELECT count(*) FILTER (WHERE r.kind = 'usage' AND r.usage_source <> 'gateway_cache'), sum(r.billed_cost), sum(r.contracted_cost)
FROM billing_usagerecord r JOIN billing_billingperiod p ON p.id = r.period_id WHERE r.tenant_id = %s AND p.label = %s
"""
Rows = list[dict[str, Any]]


def rows_of_csv(data: bytes) -> Rows:
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    for row in rows:
        row |= json.loads(row["exact_texts"]) if row["exact_texts"] else {}
    return rows


def rows_of_xlsx(data: bytes) -> Rows:
    sheet = openpyxl.load_workbook(io.BytesIO(data), read_only=True)["Detail"]
    head, *rows = sheet.iter_rows(values_only=True)
    names = [str(name).lower().replace(" ", "_") for name in head]
    found = [dict(zip(names, row, strict=False)) for row in rows]
    for row in found:
        for name in [name for name in row if name.endswith("_(exact)")]:
            row[name.removesuffix("_(exact)")] = row[name]
        row["day"] = f"{row['day']:%Y-%m-%d}"
    return found


def rows_of_json(data: bytes) -> Rows:
    return list(json.loads(data)["detail"])


def rows_of_parquet(data: bytes) -> Rows:
    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    return [row | {"day": str(row["day"])} for row in rows]


READERS: dict[str, Callable[[bytes], Rows]] = {
    "csv": rows_of_csv,
    "csv-bom": rows_of_csv,
    "xlsx": rows_of_xlsx,
    "json": rows_of_json,
    "parquet": rows_of_parquet,
}


def asked(sql: str, books: Books) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, (books.tenant.pk, MONTH))
        return cursor.fetchall()


def meters_of(rows: Rows) -> dict[tuple[str, ...], tuple[int, Decimal]]:
    sums: dict[tuple[str, ...], tuple[int, Decimal]] = {}
    for row in rows:
        if row["meter"] in ("request", "credit", "adjustment", "correction"):
            continue
        key = tuple(
            str(row[name] or "") for name in ("day", "user", "provider", "model", "cost_center", "meter")
        )
        quantity, billed = sums.get(key, (0, Decimal(0)))
        sums[key] = (quantity + int(row["quantity"]), billed + Decimal(str(row["billed_cost_usd"])))
    return sums


@pytest.fixture
async def pack(books: Books) -> dict[str, bytes]:
    def made() -> dict[str, bytes]:
        files = {}
        with opened_month(books.tenant, month=MONTH) as report:
            for name in (*READERS, "focus", "focus-parquet"):
                out = io.BytesIO()
                export(report, name, out)
                files[name] = out.getvalue()
        return files

    return await sync_to_async(made)()


@pytest.mark.parametrize("name", READERS)
async def test_each_meter_is_the_ledgers_in_every_format(
    books: Books, pack: dict[str, bytes], name: str
) -> None:
    ledger = {tuple(row[:6]): (row[6], row[7]) for row in await sync_to_async(asked)(METERS, books)}
    assert meters_of(READERS[name](pack[name])) == ledger


@pytest.mark.parametrize("name", READERS)
async def test_the_sums_are_the_ledgers_in_every_format(
    books: Books, pack: dict[str, bytes], name: str
) -> None:
    rows = READERS[name](pack[name])
    ((calls, billed, contracted),) = await sync_to_async(asked)(WHOLE, books)
    assert sum(int(row["calls"]) for row in rows) == calls
    assert sum(Decimal(str(row["billed_cost_usd"])) for row in rows) == billed
    assert sum(Decimal(str(row["contracted_cost_usd"])) for row in rows) == contracted


async def test_focus_says_what_the_ledger_says(books: Books, pack: dict[str, bytes]) -> None:
    ((_, billed, contracted),) = await sync_to_async(asked)(WHOLE, books)
    texts = list(csv.DictReader(io.StringIO(pack["focus"].decode(), newline="")))
    typed = pq.read_table(io.BytesIO(pack["focus-parquet"])).to_pylist()
    assert len(texts) == len(typed)
    for rows in (texts, typed):
        assert sum(Decimal(str(row["BilledCost"])) for row in rows) == billed
        assert sum(Decimal(str(row["ContractedCost"])) for row in rows) == contracted
    for text, value in zip(texts, typed, strict=True):
        for column in ("BilledCost", "ListCost", "EffectiveCost", "PricingQuantity", "x_Saving"):
            assert (Decimal(text[column]) if text[column] else None) == value[column], column


@pytest.mark.parametrize("name", comparing.READERS)
async def test_the_comparison_at_size_agrees_and_finds_a_changed_row(
    books: Books, pack: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    """What the benchmark compares a million rows with: it must see one of them that is not as it was."""
    period = await BillingPeriod.objects.aget(tenant=books.tenant, label=MONTH)
    said = await sync_to_async(comparing.ledger_says)(period.pk)
    path = tmp_path / name
    path.write_bytes(pack[name])
    assert comparing.file_says(name, path) == said
    rows = list(comparing.READERS[name](path))
    changed = comparing.Said()
    place = next(number for number, row in enumerate(rows) if row[5] not in comparing.WITHOUT_METER)
    for number, (*texts, quantity, billed, contracted) in enumerate(rows):
        changed.add((*texts, int(Decimal(quantity)) + (number == place), billed, contracted))
    assert changed.facts()["billed_usd"] == said["billed_usd"]
    assert changed.facts() != said
