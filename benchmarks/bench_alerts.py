"""`make bench-alerts`: how soon a jump of the spend and an agent's loop are found, and how often one is found that is none.

Jumps: 90 days of generated load of tenants of eight shapes (`benchmarks/alerts/loads.py`), with spikes of ten times for half an
hour at random moments; the product's own judgement looks every minute, with the threshold of a tenant without a rule, and what
was asked in the last minute is not booked yet. Asked: a spike is found within ten minutes, and of all else at most one
alert for a tenant and month. Loops: sessions of coding agents at work and in loops, in a real ledger, by threshold.

The constants of the judgement were chosen on seeds below 200; here are others.

    make bench-alerts           SEEDS=8 (tenants of each shape) by default; SECONDS=300 ends the jumps early, between seeds
"""

import json
import os
import time
from collections import defaultdict
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import Any, Final

from benchmarks import results_file
from benchmarks.alerts import jumps, looping
from benchmarks.alerts.jumps import DAYS, Outcome
from benchmarks.alerts.loads import KINDS, SHAPES
from benchmarks.own_servers import own_postgres

SEEDS = int(os.environ.get("SEEDS", "8"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "301"))
SECONDS = float(os.environ.get("SECONDS", "300"))
ASKED_MINUTES, ASKED_ALARMS = 10, 1
CHECKED_SEEDS: Final = 1  # whose tenants are looked at by the whole watch, too


def main() -> None:
    machine = results_file.machine()
    began = time.monotonic()
    with own_postgres():
        looped = looping.measure(seed=FIRST_SEED, at=datetime.now(UTC).replace(second=0, microsecond=0))
        done, seeds = _jumps()
    kinds = {kind: _by_shape([one for one in done if one.kind == kind]) for kind in KINDS}
    for kind, rows in kinds.items():
        _print_jumps(f"Spikes: {KINDS[kind]}", rows)
    _print_loops(looped)
    asked = kinds["hour"]["all"]
    figures = {
        "machine": machine, "days": DAYS, "seeds": [FIRST_SEED, FIRST_SEED + seeds - 1],
        "asked": {"minutes": ASKED_MINUTES, "alarms": ASKED_ALARMS}, "seconds": round(time.monotonic() - began),
        "judged": sum(one.judged for one in done), "checked": sum(one.checked for one in done),
        "spikes": KINDS, "jumps": kinds, "loops": looped,
    }  # fmt: skip
    print(json.dumps({"file": str(results_file.write("alerts", figures)), **asked}))


def _jumps() -> tuple[list[Outcome], int]:
    """The outcomes, and of how many seeds: all tenants of a seed, or none."""
    until = time.monotonic() + SECONDS
    done, seeds = [], 0
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        if time.monotonic() > until:
            break
        done += [
            jumps.measure(shape, seed, number, kind=kind, is_checked=seeds < CHECKED_SEEDS and kind == "hour")
            for number, shape in enumerate(SHAPES)
            for kind in KINDS
        ]
        seeds += 1
    return done, seeds


def _by_shape(done: list[Outcome]) -> dict[str, dict[str, Any]]:
    shapes: dict[str, list[Outcome]] = defaultdict(list)
    for one in done:
        shapes[one.shape].append(one)
    return {**{name: _figures(ones) for name, ones in shapes.items()}, "all": _figures(done)}


def _figures(outcomes: list[Outcome]) -> dict[str, Any]:
    spikes, minutes = sum(one.spikes for one in outcomes), [each for one in outcomes for each in one.minutes]
    within = sum(each <= ASKED_MINUTES for each in minutes)
    return {
        "tenants": len(outcomes),
        "spikes": spikes,
        "spikes_below_the_floors": sum(one.too_small for one in outcomes),
        "found": len(minutes),
        "within_asked_percent": round(100 * within / spikes, 1) if spikes else None,
        "median_minutes": round(median(minutes), 1) if minutes else None,
        "p95_minutes": round(quantiles(minutes, n=20)[-1], 1) if len(minutes) > 1 else None,
        "alarms_per_tenant_month": round(sum(one.alarms for one in outcomes) / len(outcomes) / DAYS * 30, 2),
        "most_alarms_of_a_tenant": round(max(one.alarms for one in outcomes) / DAYS * 30, 2),
    }


def _print_jumps(title: str, rows: dict[str, dict[str, Any]]) -> None:
    columns = f"{'tenants':>8}{'spikes':>8}{'found':>7}{'within 10':>11}{'median min':>12}{'alarms/month':>14}{'worst':>8}"
    print(f"{title}\n{'':<10}{columns}")
    for name, row in rows.items():
        print(
            f"{name:<10}{row['tenants']:>8}{row['spikes']:>8}{row['found']:>7}{row['within_asked_percent']!s:>10}%"
            f"{row['median_minutes']!s:>12}{row['alarms_per_tenant_month']:>14}{row['most_alarms_of_a_tenant']:>8}"
        )
    print()


def _print_loops(looped: dict[str, Any]) -> None:
    head = f"{'repeats':<14}" + "".join(f"{threshold:>7}" for threshold in looping.THRESHOLDS)
    print(f"Loops found within ten minutes, %\n{head}")
    for name, by in looped["loops"].items():
        print(f"{name:<14}" + "".join(f"{row['within_percent']:>7}" for row in by.values()))
    print(f"False alarms for an hour of a session at work\n{head}")
    for name, by in looped["work"].items():
        print(f"{name:<14}" + "".join(f"{alarms:>7}" for alarms in by.values()))
    print(f"Agents that look for 20 minutes whether something is done, % taken for a loop\n{head}")
    for name, by in looped["polls"].items():
        print(f"{name:<14}" + "".join(f"{percent:>7}" for percent in by.values()))
    print()


if __name__ == "__main__":
    main()
