"""`make bench-reports`: what the files of a month take: memory, processor time and size of each format.

The month (`ledger.py`) is read once, as a job of the product reads it, and written in every format, one after the other.

    make bench-reports           ROWS=1000000 USERS=100000 by default; FORMATS="csv xlsx" for some
"""

import os
from typing import Any, BinaryIO, cast

from benchmarks import results_file
from benchmarks.months.ledger import ROWS, USERS, booked_month, measured
from benchmarks.own_servers import own_postgres

MOST_MIB = 300


def main() -> None:
    machine = results_file.machine()
    with own_postgres():
        figures = _measure()
    path = results_file.write("reports", {"machine": machine, "rows": ROWS, "users": USERS, **figures})
    peak = max(one["peak_mib"] for one in figures["formats"].values())
    within = "within" if peak <= MOST_MIB else "NOT within"
    print(f"{within} {MOST_MIB} MiB: {peak:.0f}; written to {path.relative_to(path.parents[2])}")


def _measure() -> dict[str, Any]:
    from billing.months.exports import ASKED
    from billing.months.report import opened_month
    from tenants import contents

    tenant, period = booked_month()
    names = os.environ.get("FORMATS", "").split() or [
        *("csv", "csv-bom", "json", "parquet", "pdf", "focus", "focus-parquet", "xlsx")
    ]
    formats: dict[str, dict[str, float]] = {}
    opened = opened_month(tenant, month=period.label)
    with measured("reading the ledger") as reading:
        report = opened.__enter__()
    print(f"{len(report.detail):,} lines of {ROWS:,} calls", flush=True)
    for name in names:
        for kind in ASKED[name]:
            with contents.spool() as out:
                with measured(kind.label) as formats[kind.suffix.lstrip(".")]:
                    kind.write(report, cast(BinaryIO, out))
                formats[kind.suffix.lstrip(".")]["bytes"] = out.seek(0, os.SEEK_END)
    lines = len(report.detail)
    opened.__exit__(None, None, None)
    return {"lines": lines, "reading": reading, "formats": formats}


if __name__ == "__main__":
    main()
