"""`make bench-shards`: what splitting a hot budget's windows brings to several processes.

Several processes admit and settle on one tenant's three windows at once, against an embedded PostgreSQL of their own with
fsync on: as one row per window, and as four, in turns. After each run the books are checked to the last digit.

    make bench-shards                                         SECONDS=3 per run, ROUNDS=3, PROCESSES=4 by default
    make bench-shards PROCESSES=1,2,4,8 IN_FLIGHT=16 SHARDS=1,8     how pairs grow with web workers, and where they stop
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import uuid_utils
import uvloop

from benchmarks import results_file
from benchmarks.bench_money import _Account, _check_books, _settlements
from benchmarks.load import processes
from benchmarks.own_servers import own_postgres

PROCESSES = tuple(map(int, os.environ.get("PROCESSES", "4").split(",")))
SHARDS = tuple(map(int, os.environ.get("SHARDS", "1,4").split(",")))
IN_FLIGHT = tuple(map(int, os.environ.get("IN_FLIGHT", "1,4,16,64").split(",")))
SECONDS = float(os.environ.get("SECONDS", "3"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
WARM_SECONDS = 1.0


def main() -> None:
    machine = results_file.machine()
    rows = []
    print(
        f"one hot budget: pairs/s (p50/p99 ms; CPU us of PostgreSQL + the processes), the median of {ROUNDS} runs in turns"
    )
    with own_postgres() as url:
        for count, in_flight in product(PROCESSES, IN_FLIGHT):
            runs = [
                _measure(url, shards=shards, in_flight=in_flight, count=count)
                for _ in range(ROUNDS)
                for shards in SHARDS
            ]
            found = {shards: _median([run for run in runs if run["shards"] == shards]) for shards in SHARDS}
            rows += found.values()
            texts = [
                f"K={shards}: {run['pairs_per_second']:>6,.0f} ({run['p50_ms']}/{run['p99_ms']};"
                f" {run['postgres_us']} + {run['workers_us']})"
                for shards, run in found.items()
            ]
            ratio = found[SHARDS[-1]]["pairs_per_second"] / found[SHARDS[0]]["pairs_per_second"]
            print(
                f"{count:>2} processes, {in_flight:>3} in flight each   {'   '.join(texts)}   x {ratio:.2f}",
                flush=True,
            )
    path = results_file.write(
        "shards",
        {
            "machine": machine,
            "seconds_per_run": SECONDS,
            "rounds": ROUNDS,
            "rows": rows,
        },
    )
    print(f"books exact after every run; written to {path.relative_to(path.parents[2])}")


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    ordered = sorted(runs, key=lambda run: run["pairs_per_second"])
    return ordered[len(ordered) // 2] | {"all": [run["pairs_per_second"] for run in runs]}


def _measure(url: str, *, shards: int, in_flight: int, count: int) -> dict[str, Any]:
    """Let the processes call for a while; what all of them together did."""
    tenant_id = _make_tenant(shards)
    order = json.dumps({"tenant_id": tenant_id, "in_flight": in_flight})
    command = [sys.executable, "-m", "benchmarks.bench_shards", order]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for worker in workers:
            assert worker.stdout
            assert worker.stdout.readline() == "ready\n"
        begins = time.time() + 0.2
        for worker in workers:
            assert worker.stdin
            worker.stdin.write(f"{begins}\n")
            worker.stdin.flush()
        time.sleep(begins + WARM_SECONDS - time.time())
        before = _cpu_seconds(workers)
        time.sleep(begins + WARM_SECONDS + SECONDS - time.time())
        after = _cpu_seconds(workers)
        found = [json.loads(worker.communicate()[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    asyncio.run(_check_books(url, tenant_id, sum(one["ended"] for one in found)))
    pairs = sum(one["pairs"] for one in found)
    postgres_us, workers_us = (
        round((one - two) / pairs * 1e6) for one, two in zip(after, before, strict=True)
    )
    return {
        "processes": count,
        "shards": shards,
        "used_shards": len({one["pid"] % shards for one in found}),
        "in_flight_each": in_flight,
        "pairs_per_second": round(pairs / SECONDS, 1),
        "p50_ms": round(median(one["p50_ms"] for one in found), 1),
        "p99_ms": max(one["p99_ms"] for one in found),
        "postgres_us": postgres_us,
        "workers_us": workers_us,
    }


def _cpu_seconds(workers: "list[subprocess.Popen[str]]") -> tuple[float, float]:
    """What PostgreSQL and the workers have used until now."""
    postmaster = (Path(os.environ["PURSER_HOME"]) / "postgres" / "postmaster.pid").read_text().split()[0]
    return processes.cpu_seconds(int(postmaster)), processes.cpu_seconds(*(worker.pid for worker in workers))


def _make_tenant(shards: int) -> int:
    from django.db import connection

    from billing.budgets.editing import set_budget
    from tenants.models import Tenant

    tenant = Tenant.objects.create(slug=f"bench-{uuid_utils.uuid7()}", name="Bench", timezone="Europe/Berlin")
    for scope, unit, period in _budgets():
        amount = Decimal(10**9)
        set_budget(tenant, scope=scope, unit=unit, period=period, limit_amount=amount, shards=shards)
    connection.close()
    return int(tenant.pk)


def _budgets() -> Iterator[tuple[str, str, str]]:
    yield "tenant", "usd", "day"
    yield "tenant", "usd", "month"
    yield "user", "tokens", "day"


async def _call(order: dict[str, Any]) -> dict[str, Any]:
    """One process: keep so many pairs under way from the common beginning on."""
    from billing.budgets.windows import load_budgets
    from billing.ledger.holds import admit
    from billing.ledger.settlements import settle
    from config.resources import resources

    budgets = await asyncio.to_thread(load_budgets, order["tenant_id"])
    account, settlement_of = _Account(order["tenant_id"], budgets), _settlements()
    added: list[float] = []
    ended = 0

    async def keep_calling(counted_from: float) -> None:
        nonlocal ended
        until = counted_from + SECONDS
        while time.time() < until:
            attempt = account()
            began = time.time()
            await admit(attempt)
            await settle(settlement_of(attempt.id))
            ended += 1
            if counted_from <= time.time() < until:
                added.append(time.time() - began)

    async with resources():
        print("ready", flush=True)
        begins = float(await asyncio.to_thread(sys.stdin.readline))
        await asyncio.sleep(begins - time.time())
        await asyncio.gather(*(keep_calling(begins + WARM_SECONDS) for _ in range(order["in_flight"])))
    added.sort()
    return {
        "pid": os.getpid(),
        "ended": ended,
        "pairs": len(added),
        "p50_ms": round(added[len(added) // 2] * 1000, 1),
        "p99_ms": round(added[int(len(added) * 0.99)] * 1000, 1),
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import django

        django.setup()
        print(json.dumps(uvloop.run(_call(json.loads(sys.argv[1])))))
    else:
        main()
