"""`make bench-governance`: what limits, budgets, caches, routing and the ledger cost, in CPU of each process per request.

The gateway has one core for itself. PostgreSQL (fsync on), Redis, Celery, the static upstream and the load generator have
the others. Each scenario runs several times in a random order; medians count, and ratios between them more than either.
Then the latency that the gateway adds at a tenth of its capacity, against asking the upstream itself.

    make bench-governance                               SECONDS=10 REPEATS=3
    make bench-governance SECONDS=3 REPEATS=1 ONLY=everything,hit       a few lines, nothing is written
    make bench-governance PROFILE=1 ONLY=everything     where the gateway's time goes, by py-spy

A run with ONLY or with one repeat is for looking: a whole one is kept in `benchmarks/results`, with what NOTE says of it.
"""

import contextlib
import os
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks import results_file
from benchmarks.load import cores, generators, processes, profiles
from benchmarks.load.keeping import keep
from benchmarks.load.product import Site, gateway_of, product, raw_relay
from benchmarks.load.runs import Outcome, draw_seed, run_all, run_once
from benchmarks.load.scenarios import Scenario, chat, check, everything, is_governed_miss, own_scenarios

SECONDS = float(os.environ.get("SECONDS", "10"))
REPEATS = int(os.environ.get("REPEATS", "3"))
PROFILE = os.environ.get("PROFILE", "0") not in ("", "0")
PROFILE_SECONDS = 10
PROFILED = ("plain", "everything", "hit")  # in a whole run
ONLY = [name for name in os.environ.get("ONLY", "").split(",") if name]
PAIRS = (("everything", "plain"), ("everything", "raw"), ("plain", "raw"), ("hit", "raw"))
SHARE_OF_CAPACITY = 0.1
LEAST_REQUESTS, LONGEST_SECONDS = 300, 60  # for a p99


def main() -> None:
    machine = results_file.machine()
    with product() as site, raw_relay(site) as (raw_url, raw_pid), contextlib.ExitStack() as stack:
        scenarios = [*own_scenarios(site, raw_url=raw_url, raw_pid=raw_pid), *more_scenarios(site, stack)]
        chosen = [scenario for scenario in scenarios if not ONLY or scenario.name in ONLY]
        for scenario in chosen:
            check(scenario)
        outcomes = run_all(chosen, repeats=REPEATS, seconds=SECONDS)
        latency = added_latency(site, outcomes["everything"]) if not ONLY else {}
        tables = take_profiles([one for one in chosen if ONLY or one.name in PROFILED]) if PROFILE else {}
    if not ONLY and REPEATS > 1:
        sentence = (
            f"At {latency['requests_per_second']} requests/s, a tenth of its capacity, the gateway adds "
            f"{latency['added_p50_ms']} ms (p50) and {latency['added_p99_ms']} ms (p99) to the upstream's own latency."
        )
        keep(
            "governance",
            "What governance costs",
            outcomes,
            pairs=PAIRS,
            machine=machine,
            seconds=SECONDS,
            more={"latency": latency},
            lines=[sentence],
        )
        for name, table in tables.items():
            (results_file.FOLDER / f"governance_profile_{name}.txt").write_text(table)


def more_scenarios(site: Site, stack: contextlib.ExitStack) -> Iterator[Scenario]:
    """The miss with more connections, and with two workers: a second server, which is started where it is wanted."""
    governed: dict[str, Any] = {"is_so": is_governed_miss, "stores": site.stores, "connections": 64}
    yield Scenario(
        "everything64", "the miss, 64 connections", everything(site.base_url), site.parts, **governed
    )
    if not ONLY or "workers2" in ONLY:
        url, pid = stack.enter_context(
            gateway_of(site.home, site.environment, workers=2, on_cores=cores.every())
        )
        parts = {**site.parts, "gateway": [pid]}
        yield Scenario("workers2", "the same, two workers on all cores", everything(url), parts, **governed)


def added_latency(site: Site, capacity: Outcome) -> dict[str, float]:
    """What the gateway adds to p50 and p99 at a tenth of its capacity, against the upstream itself."""
    rate = capacity.median("requests_per_second") * SHARE_OF_CAPACITY
    seconds = min(max(SECONDS, LEAST_REQUESTS / rate), LONGEST_SECONDS)
    added: dict[str, list[float]] = {"p50": [], "p99": []}
    for _ in range(REPEATS):
        direct, through = (
            generators.steady_rate(request, rate=rate, seconds=seconds, seed=draw_seed())
            for request in (chat(site.upstream_url), everything(site.base_url))
        )
        if direct.errors or through.errors:
            raise RuntimeError(f"{through.errors} errors at {rate:.0f} requests/s")
        added["p50"].append(through.p50_ms - direct.p50_ms)
        added["p99"].append(through.p99_ms - direct.p99_ms)
    figures = {f"added_{name}_ms": round(statistics.median(values), 2) for name, values in added.items()}
    print(f"  at {rate:.0f} requests/s: {figures}", flush=True)
    return {"requests_per_second": round(rate, 1), **figures}


def take_profiles(scenarios: list[Scenario]) -> dict[str, str]:
    """The table of a profile of each scenario, in a run that counts for nothing else."""
    tables = {}
    for scenario in scenarios:
        worker = processes.web_workers(*scenario.parts["gateway"])[0]
        profile = profiles.start(worker, name=scenario.name, seconds=PROFILE_SECONDS)
        run_once(scenario, seconds=PROFILE_SECONDS + 1)
        tables[scenario.name] = profile.table()
        print(f"\n{scenario.name}: {tables[scenario.name]}", flush=True)
    return tables


if __name__ == "__main__":
    main()
