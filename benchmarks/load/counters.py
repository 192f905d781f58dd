"""What a run cost: CPU by part of the product, Redis calls, PostgreSQL transactions and WAL, each per request.

Invariant: every figure is a difference of two counters that the kernel or the server keeps. PostgreSQL's processes report
their transactions once a second while they work: read the counters under load, right after a run with the same load, so
that what is missing at the beginning and at the end is alike. CPU, Redis' counters and WAL bytes are exact. Of PostgreSQL's
CPU, what Celery's connections and autovacuum use is kept apart: it depends on the clock, not on the requests.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis

from benchmarks.load import processes

POSTGRES_SQL = """
    SELECT xact_commit + xact_rollback AS transactions, wal_records, wal_fpi AS wal_page_images,
           pg_current_wal_insert_lsn() - '0/0' AS wal_bytes
    FROM pg_stat_database, pg_stat_wal WHERE datname = current_database()"""
OF_HELPERS_SQL = r"""
    SELECT pid FROM pg_stat_activity WHERE usename LIKE '%\_worker' OR backend_type LIKE 'autovacuum%'"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters at one moment. `cpu` is in seconds, by the name of a part; `backends`: of PostgreSQL's processes that work
    for requests."""

    at: float
    cpu: dict[str, float]
    redis: dict[str, int]
    postgres: dict[str, int]
    backends: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the counters of the stores are read."""

    redis: "redis.Redis | None"
    postgres: "psycopg.Connection[Any]"

    @classmethod
    def at(cls, *, redis_url: str, database_url: str) -> "Stores":
        return cls(redis.Redis.from_url(redis_url), psycopg.connect(database_url, autocommit=True))

    def redis_counters(self) -> dict[str, int]:
        """`round_trips`: times that Redis read from a client; a pipeline or a script counts once. `commands`: what it
        executed, inside scripts too."""
        if self.redis is None:
            return {}
        stats: Any = self.redis.info("stats")
        return {
            "round_trips": stats["total_reads_processed"],
            "commands": stats["total_commands_processed"],
            "bytes_in": stats["total_net_input_bytes"],
        }

    def postgres_counters(self) -> dict[str, int]:
        cursor = self.postgres.execute(POSTGRES_SQL)
        assert cursor.description
        row = cursor.fetchone()
        return {column.name: int(value) for column, value in zip(cursor.description, row, strict=True)}

    def pids_of_helpers(self) -> set[int]:
        """PostgreSQL's processes that work for Celery, or for themselves."""
        return {int(pid) for (pid,) in self.postgres.execute(OF_HELPERS_SQL)}


def snapshot(parts: Mapping[str, list[int]], stores: Stores | None) -> Snapshot:
    """`parts`: the root processes of each part."""
    return Snapshot(
        time.perf_counter(),
        {name: processes.cpu_seconds(*roots) for name, roots in parts.items()},
        stores.redis_counters() if stores else {},
        stores.postgres_counters() if stores else {},
        _backends(parts["postgres"], stores.pids_of_helpers()) if stores else {},
    )


def per_request(before: Snapshot, after: Snapshot, *, requests: int) -> dict[str, float]:
    """The costs of one request, by name. `gateway_busy` is the share of the time that the gateway's CPU was used."""
    cost = {f"{part}_cpu_ms": (after.cpu[part] - before.cpu[part]) * 1000 / requests for part in before.cpu}
    for store, first, last in (
        ("redis", before.redis, after.redis),
        ("postgres", before.postgres, after.postgres),
    ):
        cost |= {f"{store}_{name}": (last[name] - first[name]) / requests for name in first}
    if after.backends:
        for_requests = sum(cpu - before.backends.get(pid, 0.0) for pid, cpu in after.backends.items())
        for_requests *= 1000 / requests
        cost["postgres_helpers_cpu_ms"] = cost["postgres_cpu_ms"] - for_requests
        cost["postgres_cpu_ms"] = for_requests
    if "gateway" in before.cpu:
        cost["gateway_busy"] = (after.cpu["gateway"] - before.cpu["gateway"]) / (after.at - before.at)
    return cost


def _backends(roots: list[int], of_helpers: set[int]) -> dict[int, float]:
    """The CPU of each process under the postmaster, without helpers' and without those that have ended."""
    found = (pid for root in roots for pid in processes.tree(root) if pid not in {root, *of_helpers})
    return {pid: processes.own_cpu_seconds(pid) for pid in found}
