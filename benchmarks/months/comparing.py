"""Compares the files of a month with each other and with SQL over the ledger. Nothing of the product reads here.

Each source is read row by row, in constant memory. A row's day, user, feature, cost centre, model and meter make a number of 128
bits; that number times the row's quantity, and times each amount, is added. So neither the order matters nor how the same sum is
divided into rows, and two sources agree only where each meter of each of these groups does.

    python -m benchmarks.months.comparing csv FILE       prints what FILE says, as JSON
"""

import csv
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any

import orjson

NAMES = (
    "day",
    "user",
    "feature",
    "cost_center",
    "model",
    "meter",
    "quantity",
    "billed_cost_usd",
    "contracted_cost_usd",
)
WITHOUT_METER = ("request", "credit", "adjustment", "correction", "commitment")
LEDGER = """
SELECT to_char(r.occurred_at AT TIME ZONE p.timezone, 'YYYY-MM-DD'), r.user_id, r.feature, r.cost_center, r.model, l.meter,
       sum(l.quantity)::bigint, sum(l.billed_cost), sum(l.contracted_cost)
FROM billing_usagerecord r
JOIN billing_billingperiod p ON p.id = r.period_id
JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE r.period_id = %(period)s
GROUP BY 1, 2, 3, 4, 5, 6
"""
WHOLE = "SELECT sum(r.billed_cost), sum(r.contracted_cost) FROM billing_usagerecord r WHERE r.period_id = %(period)s"
_MANY = 1 << 128
_ROW = re.compile(rb"<row r=\"\d+\">(.*?)</row>", re.DOTALL)
_CELL = re.compile(rb"<c r=\"([A-Z]+)\d+\"[^>]*>(?:<is><t[^>]*>([^<]*)</t></is>|<v>([^<]*)</v>)</c>")
Row = tuple[Any, ...]


class Said:
    """What a source says of a month."""

    def __init__(self) -> None:
        self._sums, self._whole = [0, 0, 0], [0, 0]

    def add(self, row: Row) -> None:
        """Hear a row, whose values are those of NAMES."""
        *texts, quantity, billed, contracted = row
        amounts = [_units(billed), _units(contracted)]
        self._whole = [one + amount for one, amount in zip(self._whole, amounts, strict=True)]
        if texts[-1] not in WITHOUT_METER:
            named = "\x1f".join(text or "" for text in texts).encode()
            number = int.from_bytes(hashlib.blake2b(named, digest_size=16).digest())
            figures = (int(Decimal(quantity)), *amounts)
            self._sums = [
                (one + number * figure) % _MANY for one, figure in zip(self._sums, figures, strict=True)
            ]

    def facts(self) -> dict[str, str]:
        """To be compared: of the meters, and what all rows make."""
        names = ("quantities", "billed", "contracted")
        meters = {name: f"{one:032x}" for name, one in zip(names, self._sums, strict=True)}
        billed, contracted = (str(Decimal(one).scaleb(-12)) for one in self._whole)
        return meters | {"billed_usd": billed, "contracted_usd": contracted}


def ledger_says(period_id: int) -> dict[str, str]:
    """What SQL over the ledger says."""
    from django.db import connection, transaction

    said = Said()
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(LEDGER, {"period": period_id})
        while rows := cursor.fetchmany(2000):
            for row in rows:
                said.add(row)
        with connection.cursor() as whole:
            whole.execute(WHOLE, {"period": period_id})
            ((billed, contracted),) = whole.fetchall()
    return said.facts() | {
        "billed_usd": str(Decimal(_units(billed)).scaleb(-12)),
        "contracted_usd": str(Decimal(_units(contracted)).scaleb(-12)),
    }


def _units(amount: Any) -> int:
    """An amount in the ledger's last place."""
    return int(Decimal(amount or 0).scaleb(12))


def csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text)
        heads = next(rows)
        places = [heads.index(name) for name in NAMES]
        for row in rows:
            if row[-1]:  # what a guard against formulas has changed
                exact = json.loads(row[-1])
                yield tuple(exact.get(name, row[place]) for name, place in zip(NAMES, places, strict=True))
            else:
                yield tuple(row[place] for place in places)


def json_rows(path: Path) -> Iterator[Row]:
    """The lines of the file after that which opens the detail: each is an object."""
    with path.open("rb") as data:
        for line in data:
            if line.endswith(b',"detail":[\n'):
                break
        for line in data:
            found = orjson.loads(line[: line.rindex(b"}") + 1].removesuffix(b"]}"))
            yield tuple(found[name] for name in NAMES)


def parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq  # large: not for who measures memory

    for batch in pq.ParquetFile(path).iter_batches(batch_size=10_000, columns=list(NAMES)):
        columns = [batch.column(name).to_pylist() for name in NAMES]
        columns[0] = [day.isoformat() for day in columns[0]]
        yield from zip(*columns, strict=True)


def xlsx_rows(path: Path) -> Iterator[Row]:
    """The sheets called Detail; of an amount the cell with its exact text, of a day its number."""
    with zipfile.ZipFile(path) as book:
        titles = re.findall(r'<sheet name="([^"]+)"', book.read("xl/workbook.xml").decode())
        for number, title in enumerate(titles, 1):
            if title.split()[0] == "Detail":
                with book.open(f"xl/worksheets/sheet{number}.xml") as sheet:
                    yield from _rows_of_sheet(sheet)


def focus_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            yield _of_focus(row, datetime.fromisoformat(row["ChargePeriodStart"]))


def focus_parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    names = (
        *(
            "ChargePeriodStart",
            "SubAccountId",
            "x_Feature",
            "Tags",
            "SkuPriceDetails",
            "ConsumedQuantity",
            "BilledCost",
        ),
        *("ContractedCost", "ChargeCategory"),
    )
    for batch in pq.ParquetFile(path).iter_batches(batch_size=10_000, columns=list(names)):
        for row in batch.to_pylist():
            yield _of_focus(row, row["ChargePeriodStart"])


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "csv": csv_rows,
    "csv-bom": csv_rows,
    "json": json_rows,
    "parquet": parquet_rows,
    "xlsx": xlsx_rows,
    "focus": focus_rows,
    "focus-parquet": focus_parquet_rows,
}


def file_says(format_name: str, path: Path) -> dict[str, str]:
    """What a file says."""
    said = Said()
    for row in READERS[format_name](path):
        said.add(row)
    return said.facts()


def _of_focus(row: dict[str, Any], starts_at: datetime) -> Row:
    day = (
        (starts_at + timedelta(hours=12)).date().isoformat()
    )  # the tenant's: its noon is on the same day in UTC
    sku = orjson.loads(row["SkuPriceDetails"] or "{}")
    meter = sku.get("x_TokenType") or "request"
    center = orjson.loads(row["Tags"] or "{}").get("cost_center")
    exact = orjson.loads(row.get("x_ExactTexts") or "{}")
    user, feature = exact.get("user", row["SubAccountId"]), exact.get("feature", row["x_Feature"])
    return (
        *(day, user, feature, center, sku.get("x_Model"), meter),
        *(row["ConsumedQuantity"] or 0, row["BilledCost"], row["ContractedCost"]),
    )


def _rows_of_sheet(sheet: Any) -> Iterator[Row]:
    letters: dict[str, bytes] = {}
    left = b""
    while piece := sheet.read(1 << 20):
        text, end = left + piece, 0
        for match in _ROW.finditer(text):
            end = match.end()
            cells = {column: words or number for column, words, number in _CELL.findall(match[1])}
            if not letters:
                heads = {
                    unescape(words.decode()).lower().replace(" ", "_"): letter
                    for letter, words in cells.items()
                }
                letters = {name: heads.get(f"{name}_(exact)", heads[name]) for name in NAMES}
                continue
            day, *rest = (unescape(cells.get(letters[name], b"").decode()) for name in NAMES)
            yield (_day(int(float(day))), *rest)
        left = text[end:]


def _day(number: int) -> str:
    return (date(1899, 12, 30) + timedelta(days=number)).isoformat()


if __name__ == "__main__":
    print(json.dumps(file_says(sys.argv[1], Path(sys.argv[2]))))
