"""`make bench-forecast`: how often a forecast's 90 % interval has the result, on generated histories of many shapes.

Each history is half a year of days. Every third day of its last twelve weeks the rest of the month is forecast by the product's
own code from the days before alone, and compared with what came: `billing.planning.trials.try_out`, which the product runs every
night on each tenant's own history. 90 % is meant; 87 to 93 % is asked for, of all shapes together.

    make bench-forecast                       SEEDS=5 HISTORIES=40 (of each shape and seed) FIRST_SEED=1
"""

import json
import os
import time
from datetime import date, timedelta
from statistics import median
from typing import Any

import numpy as np

from benchmarks import results_file
from benchmarks.planning.shapes import SHAPES

SEEDS = int(os.environ.get("SEEDS", "5"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "1"))
HISTORIES = int(os.environ.get("HISTORIES", "40"))
DRAWN = range(FIRST_SEED, FIRST_SEED + SEEDS)
DAYS = 26 * 7
ASKED = 87.0, 93.0


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    machine = results_file.machine()
    began = time.process_time()
    found = [(seed, name, trial) for seed in DRAWN for name, trial in _trials(seed)]
    seconds = time.process_time() - began
    shapes = {name: _figures([trial for _, shape, trial in found if shape == name]) for name in SHAPES}
    seeds = [_figures([trial for one, _, trial in found if one == seed]) for seed in DRAWN]
    total = _figures([trial for *_, trial in found])
    print(
        f"{'shape':<14}{'forecasts':>10}{'covered %':>11}{'below %':>9}{'above %':>9}{'median error %':>16}"
    )
    for name, row in [*shapes.items(), ("all", total)]:
        print(
            f"{name:<14}{row['forecasts']:>10,}{row['covered_percent']:>11}{row['below_percent']:>9}"
            f"{row['above_percent']:>9}{row['error_percent']!s:>16}"
        )
    print("by seed, covered %:", ", ".join(str(row["covered_percent"]) for row in seeds))
    figures = {
        "machine": machine, "histories": len(found), "days": DAYS, "asked_percent": ASKED, "shapes": shapes,
        "all": total, "seeds": list(DRAWN), "seeds_covered_percent": [row["covered_percent"] for row in seeds],
        "ms_of_cpu_per_history": round(1000 * seconds / len(found), 1),
    }  # fmt: skip
    print(json.dumps({"file": str(results_file.write("forecast", figures)), **total}))


def _trials(seed: int) -> list[tuple[str, Any]]:
    from billing.planning.trials import try_out

    rng = np.random.default_rng(seed)
    # another day of the month and the week for each seed
    first = date(2025, 6, 1) + timedelta(days=37 * seed)
    drawn = [(name, shape(rng, DAYS, first)) for name, shape in SHAPES.items() for _ in range(HISTORIES)]
    trials = try_out(np.array([days for _, days in drawn]), first)
    return list(zip((name for name, _ in drawn), trials, strict=True))


def _figures(trials: list[Any]) -> dict[str, Any]:
    looks = sum(trial.looks for trial in trials)
    errors = [float(trial.error_percent) for trial in trials if trial.error_percent is not None]

    def share(name: str) -> float:
        return round(100 * sum(getattr(trial, name) for trial in trials) / max(looks, 1), 1)

    return {
        "forecasts": looks,
        "covered_percent": share("covered"),
        "below_percent": share("below"),
        "above_percent": share("above"),
        "error_percent": round(median(errors), 1) if errors else None,
    }


if __name__ == "__main__":
    main()
