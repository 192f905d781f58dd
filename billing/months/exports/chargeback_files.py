"""Chargebacks as files: all of a month as CSV and JSON, and the pages of one cost centre as PDF.

Invariant: the sums of a CSV's columns are the month's and the statement's; the JSON has all that the others are made of, so that
those of a closed month are made from the one that was stored with its statement.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson

from billing.months.chargebacks import KINDS, Chargeback, Chargebacks, Moved
from billing.months.exports.cells import UNGUARDED, cell, exact, exact_texts
from billing.months.exports.pages.pdf import column, short
from billing.months.parts import NOTHING

SCHEMA: Final = "purser/chargebacks/1"
TEMPLATE: Final = Path(__file__).parent / "pages" / "chargeback.typ"
COLUMNS: Final = (
    *("tenant", "statement", "month", "cost_center", "item", "rule", "method", "records", "exact_usd"),
    *("currency", "owed", "tax"),
)
NAMELESS: Final = "No cost centre"
Tops = Mapping[str, Iterable[tuple[str, Decimal]]]


def write_csv(made: Chargebacks) -> bytes:
    """A row for each thing that a cost centre bears, and one with what it owes."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow((*COLUMNS, UNGUARDED))
    for item in made.items:
        for row in _rows(item):
            values = {
                "tenant": made.tenant_slug,
                "statement": made.code,
                "month": made.month,
                "cost_center": item.cost_center,
                **row,
                "currency": made.currency,
            }
            writer.writerow((*(cell(values[name]) for name in COLUMNS), exact_texts(values)))
    return out.getvalue().encode()


def write_json(made: Chargebacks) -> bytes:
    """One object, amounts as exact texts."""
    head = {
        name: getattr(made, name)
        for name in ("tenant_slug", "tenant_name", "month", "timezone", "code", "currency")
    }
    sums = {name: exact(getattr(made, name)) for name in ("exact_usd", "total", "tax")}
    items = [
        {
            "cost_center": item.cost_center,
            "records": item.records,
            "own": {kind: exact(usd) for kind, usd in item.own.items()},
            "moved": [{"rule": one.rule, "method": one.method, "usd": exact(one.usd)} for one in item.moved],
            "exact_usd": exact(item.exact_usd),
            "owed": exact(item.owed),
            "tax": exact(item.tax),
        }
        for item in made.items
    ]
    return orjson.dumps({"schema": SCHEMA, **head, **sums, "items": items}) + b"\n"


def read_json(stored: bytes) -> Chargebacks:
    """What `write_json` wrote."""
    facts = orjson.loads(stored)
    items = tuple(
        Chargeback(
            one["cost_center"],
            {kind: Decimal(usd) for kind, usd in one["own"].items()},
            one["records"],
            [Moved(moved["rule"], moved["method"], Decimal(moved["usd"])) for moved in one["moved"]],
            Decimal(one["owed"]),
            Decimal(one["tax"]),
        )
        for one in facts["items"]
    )
    texts: dict[str, Any] = {
        name: facts[name] for name in ("tenant_slug", "tenant_name", "month", "timezone", "code", "currency")
    }
    sums: dict[str, Any] = {name: Decimal(facts[name]) for name in ("exact_usd", "total", "tax")}
    return Chargebacks(**texts, **sums, items=items)


def write_pdf(made: Chargebacks, item: Chargeback, *, issued_at: datetime, tops: Tops) -> bytes:
    """The pages of one cost centre; `tops` are what its own cost was for, by title, the dearest first."""
    import typst  # noqa: PLC0415 large: only who writes such a file loads it

    pages: bytes = typst.compile(  # type: ignore[type-var] # its types want the same of input and fonts
        TEMPLATE.read_bytes(),
        root=str(TEMPLATE.parent),
        sys_inputs={"data": orjson.dumps(_document(made, item, issued_at=issued_at, tops=tops)).decode()},
        timestamp=int(issued_at.timestamp()),
    )
    return pages


def _rows(item: Chargeback) -> list[dict[str, Any]]:
    blank: dict[str, Any] = {
        "rule": "",
        "method": "",
        "records": 0,
        "exact_usd": NOTHING,
        "owed": NOTHING,
        "tax": NOTHING,
    }
    kinds = [kind for kind in KINDS if kind in item.own]
    rows = [blank | {"item": kind, "exact_usd": item.own[kind]} for kind in kinds]
    rows += [
        blank | {"item": "shared cost", "rule": one.rule, "method": one.method, "exact_usd": one.usd}
        for one in item.moved
    ]
    return [*rows, blank | {"item": "owed", "records": item.records, "owed": item.owed, "tax": item.tax}]


def _document(made: Chargebacks, item: Chargeback, *, issued_at: datetime, tops: Tops) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if kind in item.own]
    names = [
        *(kind.replace("_", " ").capitalize() for kind in kinds),
        *(f"Shared: {one.rule}" for one in item.moved),
        "Borne, exactly",
    ]
    amounts = [*(item.own[kind] for kind in kinds), *(one.usd for one in item.moved), item.exact_usd]
    due = [("Net", item.owed), *([("Tax", item.tax)] if made.tax else []), ("Total", item.owed + item.tax)]
    return {
        "title": f"Chargeback {short(item.cost_center) or NAMELESS}",
        "tenant": short(made.tenant_name),
        "facts": [
            ("Month", made.month),
            ("Time zone", made.timezone),
            ("Statement", made.code or "none: the month is open"),
            ("Issued" if made.code else "As of", f"{issued_at:%Y-%m-%d %H:%M} UTC"),
            ("Records", f"{item.records:,}"),
        ],
        "is_final": bool(made.code),
        "currency": made.currency,
        "due": list(zip((name for name, _ in due), column([amount for _, amount in due]), strict=True)),
        "rows": list(zip(map(short, names), column(amounts), strict=True)),
        "tops": [
            {
                "title": title,
                "rows": [
                    (short(name) or "–", text)
                    for (name, _), text in zip(its, column([usd for _, usd in its]), strict=True)
                ],
            }
            for title, rows in tops.items()
            if (its := list(rows))
        ],
        "whole": f"{exact(made.total)} {made.currency}",
    }
