"""Where the figures of a benchmark are kept, and on what machine they came about.

Invariant: one file per benchmark under `benchmarks/results`, overwritten by each run; the committed one is the evidence for
what the documentation says.
"""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write `results/<name>.json`: the moment, and the figures, among them the `machine` as it was before."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"at": _now(), **figures}, indent=1) + "\n")
    return path


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to judge the figures."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
