"""The month as one JSON object: what the other files have, with the names of `billing/months/parts.py`.

Invariant: an amount is a string, exact, because JSON's readers make floats of numbers; a count is a number. The detail comes last
and is written line by line.
"""

from collections.abc import Iterable
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final

import orjson

from billing.months.exports.cells import exact, zulu
from billing.months.exports.detail_csv import DETAIL_COLUMNS, detail_values
from billing.months.parts import DetailLine, Invoice, MonthReport, Section

SCHEMA: Final = "purser/month-report/1"
_HEAD: Final = (
    *("tenant_slug", "tenant_name", "month", "timezone", "starts_at", "ends_at", "period_status", "made_at"),
    *("totals", "certainty", "waterfall", "reconciliation", "invoice", "rate"),
)


def write_json(report: MonthReport, out: BinaryIO) -> None:
    """Write the object: the month's facts and totals, its sections, and under `detail` every line."""
    head = {"schema": SCHEMA, "basis": "statement"} | {name: getattr(report, name) for name in _HEAD}
    out.write(_dumps(head)[:-1])
    out.write(b',"sections":')
    _write_list(map(_section, report.sections), out)
    out.write(b',"detail":')
    _write_list(map(_line, report.detail), out)
    if report.tenants:
        out.write(b',"margins":')
        _write_list(report.margins, out)
    out.write(b"}\n")


def plain_value(value: Any) -> Any:
    """A value of a report as JSON has it; an object by the names of its fields."""
    match value:
        case Decimal():
            return exact(value)
        case datetime():
            return zulu(value)
        case date():
            return value.isoformat()
        case Invoice():
            sums = {
                "total": value.total,
                "payable": value.payable,
                "set_off": value.set_off,
                "due": value.due,
            }
            return {field.name: getattr(value, field.name) for field in fields(value)} | sums
        case _ if hasattr(value, "__dataclass_fields__"):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        case _:
            return dict(value)


def _line(line: DetailLine) -> dict[str, Any]:
    whose = {"tenant": line.tenant} if line.tenant else {}
    return whose | dict(zip(DETAIL_COLUMNS, detail_values(line), strict=True))


def _section(section: Section) -> dict[str, Any]:
    groups = [
        dict(zip(section.dimensions, group.labels, strict=True)) | plain_value(group.measures)
        for group in section.groups
    ]
    return {"name": section.name, "title": section.title, "dimensions": section.dimensions, "groups": groups}


def _write_list(values: Iterable[Any], out: BinaryIO) -> None:
    separator = b"["
    for value in values:
        out.write(separator + b"\n" + _dumps(value))
        separator = b","
    out.write(b"]" if separator == b"," else b"[]")


def _dumps(value: Any) -> bytes:
    options = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
    return orjson.dumps(value, default=plain_value, option=options)
