"""`make bench-cache-search`: recall and latency of the semantic cache's search, by the size of a scope among many others.

The product's own search, as the gateway's role, on an embedded PostgreSQL of its own. One tenant has scopes of 1,000,
10,000 and 100,000 entries; the rest of the table belongs to others. The vectors are random, but in clusters, as questions
are. Each scope is searched exactly and, where the product would have given it an index, by that; what an exact search
without time limit finds is the truth.

    make bench-cache-search                  ROWS=1000000 QUERIES=200 SIZES=1000,10000,100000
"""

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import results_file
from benchmarks.own_servers import own_postgres

ROWS = int(os.environ.get("ROWS", "1000000"))
QUERIES = int(os.environ.get("QUERIES", "200"))
SIZES = tuple(int(size) for size in os.environ.get("SIZES", "1000,10000,100000").split(","))
DIMENSIONS = 384
FOUND = 5
_COLUMNS = """tenant_id, scope_digest, question_digest, embedder, vector, question, answer, circle, endpoint, route, model,
    provider, prompt_version, usage, list_cost_usd, confirmed_by, request_id, hits, created_at, last_hit_at, expires_at"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; the time of a search has the transaction in it."""

    entries: int
    how: str
    p50_ms: float
    p95_ms: float
    recall_at_1: float
    recall_at_5: float
    build_seconds: float | None = None
    index_mb: float | None = None


def main() -> None:
    machine = results_file.machine()
    with own_postgres():
        rows = fill_and_measure()
    path = results_file.write(
        "cache_search",
        {
            "machine": machine,
            "rows_in_all": ROWS,
            "queries": QUERIES,
            "searches": [asdict(row) for row in rows],
        },
    )
    print(f"{ROWS:,} entries in all; written to {path.relative_to(path.parents[2])}")


def fill_and_measure() -> list[Row]:
    random = np.random.default_rng(7)
    vectors = clustered(max(SIZES), random)
    scopes = [_scope_of(1, str(size)) for size in SIZES]
    began = time.perf_counter()
    fill(scopes, vectors)
    print(f"filled in {time.perf_counter() - began:.0f} s")
    return [
        row
        for scope, size in zip(scopes, SIZES, strict=True)
        for row in measure(scope, vectors, size, random)
    ]


def measure(scope: Any, vectors: Any, size: int, random: Any) -> list[Row]:
    """The scope searched exactly and, where the product would have given it an index, by that."""
    from caching.entries import near_indexes

    picked = vectors[random.integers(0, size, QUERIES)]
    asked = unit(picked + random.standard_normal(picked.shape).astype(np.float32) * 0.02)
    truth = search_all(scope, asked, milliseconds=600_000)
    rows = [_show(_row(size, "exact", truth, truth))]
    if size >= near_indexes.PROMOTE_FROM:
        seconds, megabytes = build(scope)
        found = search_all(scope, asked, milliseconds=600_000, by_index=True)
        rows.append(_show(_row(size, "index", found, truth, seconds, megabytes)))
    return rows


def clustered(count: int, random: Any) -> Any:
    """Unit vectors around many centres: neighbours are near, and most are far."""
    centres = random.standard_normal((max(1, count // 50), DIMENSIONS)).astype(np.float32)
    spread = random.standard_normal((count, DIMENSIONS)).astype(np.float32) * 0.6
    return unit(centres[random.integers(0, len(centres), count)] + spread)


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _scope_of(tenant_id: int, name: str) -> Any:
    from caching.scope import AnswerScope, Origin

    origin = Origin(tenant_id=tenant_id, circle="tenant", endpoint="", route=name)
    return AnswerScope(origin=origin, embedder="bench", request_digest="", question="Anything?")


def fill(scopes: list[Any], vectors: Any) -> None:
    """The scopes' own rows by COPY; the others' rows are made of them by the server."""
    from django.db import connection

    from caching.entries.search import literal
    from tenants.models import Tenant

    for number in range(1, 61):
        Tenant.objects.create(pk=number, slug=f"bench-{number}", name="bench")
    with connection.cursor() as cursor:
        cursor.execute("CREATE UNLOGGED TABLE bench_vector (n int PRIMARY KEY, vector halfvec NOT NULL)")
        with cursor.copy("COPY bench_vector (n, vector) FROM STDIN") as copy:
            for number, vector in enumerate(vectors):
                copy.write_row((number, literal(vector)))
        insert = f"""
            INSERT INTO caching_entry ({_COLUMNS})
            SELECT %s, %s, decode(lpad(to_hex(n), 32, '0'), 'hex'), 'bench', vector,
                   'How do I change the setting number ' || n || ' of my account?', '', 'tenant', '', '', '', '', '',
                   '{{}}', 0, '{{}}', '', 0, now(), now(), now() + interval '30 days'
            FROM bench_vector WHERE n < %s"""
        for scope, size in zip(scopes, SIZES, strict=True):
            cursor.execute(insert, (scope.tenant_id, scope.digest, size))
        left, tenant = ROWS - sum(SIZES), 2
        while left > 0:  # other tenants with scopes of all sizes
            size = min(left, len(vectors), 2_000 * (1 + tenant % 25))
            cursor.execute(insert, (2 + tenant % 59, _scope_of(tenant, "other").digest, size))
            left, tenant = left - size, tenant + 1
        cursor.execute("ANALYZE caching_entry")


def search_all(
    scope: Any, asked: Any, *, milliseconds: int, by_index: bool = False
) -> list[tuple[float, list[int]]]:
    """How long each search took, and what it found."""
    from caching.entries import near_indexes, search
    from config.resources import resources
    from tenants.rls import tenant_connection

    search.STATEMENT_TIMEOUT_MS = milliseconds

    async def run() -> list[tuple[float, list[int]]]:
        results = []
        async with resources():
            await near_indexes.read_indexes()
            assert (near_indexes.dimensions_of(scope) is not None) == by_index
            for vector in (*asked[:5], *asked):  # the first few warm up
                began = time.perf_counter()
                async with tenant_connection(scope.tenant_id) as connection:
                    found, _ = await search.nearest(connection, scope, vector, limit=FOUND)
                results.append((time.perf_counter() - began, [near.entry_id for near in found]))
        return results[5:]

    return asyncio.run(run())


def build(scope: Any) -> tuple[float, float]:
    """Give the scope its index, as the product's task does; seconds and megabytes."""
    from django.db import connection

    from caching.entries import near_indexes

    large = near_indexes.LargeScope(scope.tenant_id, scope.digest)
    began = time.perf_counter()
    near_indexes.build(large)
    seconds = time.perf_counter() - began
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s::regclass) / 1e6", (large.name,))
        return seconds, float(cursor.fetchone()[0])


def _row(size: int, how: str, found: Any, truth: Any, *built: float) -> Row:
    milliseconds = np.array([seconds for seconds, _ in found]) * 1000
    firsts = [got[:1] == best[:1] for (_, got), (_, best) in zip(found, truth, strict=True)]
    shares = [len(set(got) & set(best)) / len(best) for (_, got), (_, best) in zip(found, truth, strict=True)]
    p50, p95 = (round(float(np.percentile(milliseconds, share)), 2) for share in (50, 95))
    rounded = [round(figure, 1) for figure in built]
    return Row(
        size, how, p50, p95, round(float(np.mean(firsts)), 3), round(float(np.mean(shares)), 3), *rounded
    )


def _show(row: Row) -> Row:
    built = f"   built in {row.build_seconds} s, {row.index_mb} MB" if row.build_seconds else ""
    print(
        f"{row.entries:>9,} {row.how:6} p50 {row.p50_ms:7.2f} ms  p95 {row.p95_ms:7.2f} ms"
        f"  recall@1 {row.recall_at_1:.3f}  @5 {row.recall_at_5:.3f}{built}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
