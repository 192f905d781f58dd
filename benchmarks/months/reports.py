"""`make bench-reports`: what the files of a month take: memory, processor time and size of each format; and what each says.

The month (`ledger.py`) is read once, as a job of the product reads it, and written in every format, one after the other. Each
file is then read by code that is not the product's (`comparing.py`, in a process of its own), and has to say what SQL over the
ledger says.

    make bench-reports           ROWS=1000000 USERS=100000 by default; FORMATS="csv xlsx" for some
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import results_file
from benchmarks.months import comparing
from benchmarks.months.ledger import ROWS, USERS, booked_month, measured
from benchmarks.own_servers import own_postgres

MOST_MIB = 300_000_000 / 2**20  # 300 MB


def main() -> None:
    machine = results_file.machine()
    with own_postgres(), tempfile.TemporaryDirectory(prefix="purser-bench-files-") as folder:
        figures: dict[str, Any] = {"machine": machine, "rows": ROWS, "users": USERS}
        _measure(figures, Path(folder))
    peak = max(one["peak_mib"] for one in figures["formats"].values())
    within = "within" if peak <= MOST_MIB else "NOT within"
    agrees = (
        "all say what the ledger says" if not figures["differing"] else f"DIFFERENT: {figures['differing']}"
    )
    print(f"{within} 300 MB: {peak:.0f} MiB; {agrees}")
    if figures["differing"]:
        raise SystemExit(1)


def _measure(figures: dict[str, Any], folder: Path) -> None:
    from billing.months.exports import ASKED
    from billing.months.report import opened_month

    tenant, period = booked_month()
    names = os.environ.get("FORMATS", "").split() or [
        *("csv", "csv-bom", "json", "parquet", "pdf", "focus", "focus-parquet", "xlsx")
    ]
    formats: dict[str, dict[str, Any]] = {}
    with measured("reading the ledger") as reading:
        opened = opened_month(tenant, month=period.label)
        report = opened.__enter__()
    print(f"{len(report.detail):,} lines of {ROWS:,} calls", flush=True)
    figures |= {"lines": len(report.detail), "reading": reading, "formats": formats, "differing": []}
    for name in names:
        (kind,) = ASKED[name]
        path = folder / name
        with path.open("w+b") as out, measured(kind.label) as formats[name]:
            kind.write(report, out)
        formats[name]["bytes"] = path.stat().st_size
        figures["said"] = figures.get("said") or comparing.ledger_says(period.pk)
        if name in comparing.READERS:
            said = _said_by(name, path)
            formats[name]["says_what_the_ledger_says"] = agrees = said == figures["said"]
            print(
                "  agrees" if agrees else f"  DIFFERS: {said}, and the ledger {figures['said']}", flush=True
            )
            figures["differing"] += [] if agrees else [name]
        path.unlink()
        results_file.write("reports", figures)  # a run that is ended keeps what it has
    opened.__exit__(None, None, None)


def _said_by(name: str, path: Path) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.months.comparing", name, str(path)],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


if __name__ == "__main__":
    main()
