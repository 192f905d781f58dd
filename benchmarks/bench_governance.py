"""`make bench-governance`: what limits, budgets, caches, routing and the ledger cost, in CPU of each process per request.

The gateway has one core for itself. PostgreSQL (fsync on), Redis, Celery, the static upstream and the load generator have
the others. Each scenario runs several times in a random order; medians count, and ratios between them more than either.

    make bench-governance                               SECONDS=10 REPEATS=3
    make bench-governance SECONDS=3 REPEATS=1 ONLY=everything,hit       a few lines, nothing is written
    make bench-governance PROFILE=1 ONLY=everything     where the gateway's time goes, by py-spy

A run with ONLY or of fewer than two repeats is for looking: only a whole one is kept in `benchmarks/results`.
"""

import json
import os
import random
import sys
import urllib.request
from typing import Any

from benchmarks import results_file
from benchmarks.load import generators, processes, profiles, requests
from benchmarks.load.product import Site, product, raw_relay
from benchmarks.load.runs import Outcome, Scenario, run_all, run_once
from benchmarks.load.servers import LOCAL

SECONDS = float(os.environ.get("SECONDS", "10"))
REPEATS = int(os.environ.get("REPEATS", "3"))
PROFILE = os.environ.get("PROFILE", "0") not in ("", "0")
PROFILE_SECONDS = 10
ONLY = [name for name in os.environ.get("ONLY", "").split(",") if name]


def main() -> None:
    machine = results_file.machine()
    with product() as site, raw_relay(site.home, site.upstream_url) as (raw_url, raw_pid):
        scenarios = scenarios_of(site, raw_url=raw_url, raw_pid=raw_pid)
        for scenario in scenarios:
            check(scenario)
        chosen = [scenario for scenario in scenarios if not ONLY or scenario.name in ONLY]
        if not chosen:
            sys.exit(f"ONLY names none of {', '.join(scenario.name for scenario in scenarios)}")
        outcomes = run_all(chosen, repeats=REPEATS, seconds=SECONDS)
        tables = take_profiles(chosen) if PROFILE else {}
    if not ONLY and REPEATS > 1:
        keep(outcomes, machine, tables)


def scenarios_of(site: Site, *, raw_url: str, raw_pid: int) -> list[Scenario]:
    """The table's rows."""
    ours = {"parts": site.parts, "stores": site.stores}
    everything = requests.everything(site.base_url)
    return [
        Scenario("raw", "granian and aiohttp, no product", requests.raw(raw_url), {"gateway": [raw_pid]}),
        Scenario("plain", "key and ledger row only", requests.plain(site.base_url), **ours),
        Scenario("everything", "a miss with everything on", everything, **ours),
        Scenario("everything64", "the same, 64 connections", everything, connections=64, **ours),
        Scenario("hit", "an exact hit with its ledger row", requests.hit(site.base_url), **ours),
    ]


def check(scenario: Scenario) -> None:
    """That the scenario is what it says, by the receipt of one call; fails the benchmark if not."""
    token = random.randrange(10**14)
    answer = ask(scenario, token=token)
    if scenario.name == "hit":
        answer = ask(scenario, token=token)
    receipt = answer.get("purser") or {"cache": "none", "route": None, "budget_remaining": None}
    got = (
        receipt["cache"],
        bool((receipt["route"] or {}).get("tier")),
        receipt["budget_remaining"] is not None,
    )
    special = {
        "raw": ("none", False, False),
        "plain": ("bypass", False, False),
        "hit": ("exact", False, True),
    }
    wanted = special.get(scenario.name, ("miss", True, True))
    assert got == wanted, f"{scenario.name}: {got}, not {wanted}: {receipt}"


def ask(scenario: Scenario, *, token: int) -> dict[str, Any]:
    """One call of the scenario."""
    head, middle, tail = scenario.request.parts()
    _, _, body = f"{head}{token:014}{middle}{0:03}{tail}".partition("\r\n\r\n")
    headers = {"content-type": "application/json", **scenario.request.headers}
    call = urllib.request.Request(scenario.request.url, body.encode(), headers)
    with LOCAL.open(call, timeout=30) as response:
        return dict(json.load(response))


def take_profiles(scenarios: list[Scenario]) -> dict[str, str]:
    """The table of a profile of each scenario, in a run that counts for nothing else."""
    tables = {}
    for scenario in scenarios:
        (worker,) = processes.web_workers(*scenario.parts["gateway"])
        profile = profiles.start(worker, name=scenario.name, seconds=PROFILE_SECONDS)
        run_once(scenario, seconds=PROFILE_SECONDS + 1)
        tables[scenario.name] = profile.table()
        print(f"\n{scenario.name}: {tables[scenario.name]}")
    return tables


def keep(outcomes: dict[str, Outcome], machine: dict[str, Any], tables: dict[str, str]) -> None:
    figures = {name: outcome.as_json() for name, outcome in outcomes.items()}
    path = results_file.write(
        "governance",
        {"machine": machine, "seconds": SECONDS, "load_generator": generators.name(), "scenarios": figures},
    )
    for name, table in tables.items():
        (path.parent / f"governance_profile_{name}.txt").write_text(table)
    print(f"written to {path.relative_to(path.parents[2])}")


if __name__ == "__main__":
    main()
