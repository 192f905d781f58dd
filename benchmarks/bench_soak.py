"""`make bench-soak`: the memory of a web worker after many requests, and what they leave in PostgreSQL.

Misses with everything on and exact hits take turns through one worker. Its resident memory is read after each turn. It is
flat if at the end it is within FLAT_PERCENT of what it was after a tenth of the requests: by then all caches are warm.

    make bench-soak             REQUESTS=100000 MINUTES=60 FLAT_PERCENT=5; it ends at whichever comes first
"""

import os
import sys
import time
from dataclasses import asdict, dataclass

from benchmarks import results_file
from benchmarks.load import processes
from benchmarks.load.generators import closed_loop
from benchmarks.load.keeping import NOTE
from benchmarks.load.product import Site, product
from benchmarks.load.runs import draw_seed
from benchmarks.load.scenarios import everything, hit

REQUESTS = int(os.environ.get("REQUESTS", "100000"))
MINUTES = float(os.environ.get("MINUTES", "60"))
FLAT_PERCENT = float(os.environ.get("FLAT_PERCENT", "5"))
TURN_SECONDS = 5.0
CONNECTIONS = 32
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """The state after so many requests."""

    requests: int
    worker_mb: float
    database_mb: float


def main() -> None:
    machine = results_file.machine()
    began = time.monotonic()
    with product() as site:
        readings = soak(site, until=began + MINUTES * 60)
    growth = growth_of(readings)
    verdict = {
        "requests": readings[-1].requests,
        "growth_percent": growth,
        "is_flat": abs(growth) <= FLAT_PERCENT,
        "database_bytes_per_request": round(
            (readings[-1].database_mb - readings[0].database_mb)
            * 1e6
            / (readings[-1].requests - readings[0].requests)
        ),
    }
    for reading in thinned(readings):
        print(
            f"{reading.requests:>10,} requests   worker {reading.worker_mb:7.1f} MB   database {reading.database_mb:8.1f} MB"
        )
    print(verdict)
    results_file.write(
        "soak",
        {
            "machine": machine,
            "note": NOTE,
            "minutes": round((time.monotonic() - began) / 60, 1),
            **verdict,
            "readings": [asdict(reading) for reading in thinned(readings)],
        },
    )
    if not verdict["is_flat"]:
        sys.exit(f"the worker's memory is not flat within {FLAT_PERCENT} %: {growth} %")


def soak(site: Site, *, until: float) -> list[Reading]:
    """Turns of load until there were enough requests or the time is over; a reading after each."""
    (worker,) = processes.web_workers(*site.parts["gateway"])
    requests, readings = 0, list[Reading]()
    while requests < REQUESTS and (time.monotonic() < until or len(readings) < 2):
        request = (everything, everything, hit)[len(readings) % 3](site.base_url)
        load = closed_loop(request, connections=CONNECTIONS, seconds=TURN_SECONDS, seed=draw_seed())
        if load.errors:
            raise RuntimeError(f"{load.errors} errors after {requests} requests")
        requests += load.requests
        readings.append(
            Reading(
                requests, round(processes.rss_bytes(worker) / 1e6, 1), round(_database_bytes(site) / 1e6, 1)
            )
        )
    return readings


def growth_of(readings: list[Reading]) -> float:
    """By how many percent the memory has grown since the first tenth of the requests."""
    early = next(one for one in readings if one.requests >= readings[-1].requests / 10)
    return round((readings[-1].worker_mb / early.worker_mb - 1) * 100, 1)


def thinned(readings: list[Reading]) -> list[Reading]:
    """At most some twenty of them, evenly, the last among them."""
    step = -(-len(readings) // SHOWN)
    return readings[::-1][::step][::-1]


def _database_bytes(site: Site) -> int:
    row = site.stores.postgres.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row
    return int(row[0])


if __name__ == "__main__":
    main()
