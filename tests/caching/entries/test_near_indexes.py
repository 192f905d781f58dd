"""Large scopes get an approximate index of their own, by size and up to a ceiling; small ones are compared whole."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from django.db import connection

from caching import database_checks
from caching.embedders.base import Vector
from caching.entries import near_indexes, search
from caching.entries.near_indexes import index_name
from caching.models import CacheEntry
from caching.scope import AnswerScope, Origin
from tenants.rls import tenant_connection
from tests.orm import in_thread

pytestmark = pytest.mark.usefixtures("loop_resources")

LARGE, SMALL = 600, 40
DIMENSIONS = 384


def scope_of(origin: Origin, **changes: Any) -> AnswerScope:
    return AnswerScope(
        origin=replace(origin, **changes), embedder="test/fp16", request_digest="", question="Anything?"
    )


def unit_vectors(count: int, *, seed: int, dimensions: int = DIMENSIONS) -> Vector:
    made = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def fill(scope: AnswerScope, vectors: Vector, *, lives: str = "1 day") -> None:
    rows = [
        (scope.tenant_id, scope.digest, number.to_bytes(16, "big"), search.literal(vector), lives)
        for number, vector in enumerate(vectors)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO caching_entry (tenant_id, scope_digest, question_digest, embedder, vector, question,
                   answer, circle, endpoint, route, model, provider, prompt_version, usage, list_cost_usd,
                   confirmed_by, request_id, hits, created_at, last_hit_at, expires_at)
               VALUES (%s, %s, %s, 'test', %s::halfvec, 'Anything?', '', 'tenant', '', '', '', '', '', '{}', 0, '{}',
                       '', 0, now() - interval '2 days', now(), now() + %s::interval)""",
            rows,
        )


async def plan_of(scope: AnswerScope, vector: Vector) -> str:
    """The plan of the very statements that a search sends, as the gateway's role."""
    dimensions = near_indexes.dimensions_of(scope)
    parameters = search.scope_parameters(scope) | {"vector": search.literal(vector), "limit": 5}
    async with tenant_connection(scope.tenant_id) as pooled:
        if dimensions:
            await pooled.execute(near_indexes.SEARCH_SETTINGS, {"milliseconds": "60000"})
        cursor = await pooled.execute(f"EXPLAIN {search.nearest_sql(dimensions)}", parameters, prepare=False)
        return "\n".join(row[0] for row in await cursor.fetchall())


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch, committed: None) -> Iterator[None]:
    monkeypatch.setattr(near_indexes, "PROMOTE_FROM", 500)
    monkeypatch.setattr(near_indexes, "DEMOTE_BELOW", 200)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM caching_entry WHERE embedder = 'test'")
    near_indexes.keep_indexes()


async def test_it_works(origin: Origin, sizes: None) -> None:
    large, small = scope_of(origin), scope_of(origin, prompt_version="small")
    vectors = unit_vectors(LARGE, seed=1)
    await in_thread(lambda: (fill(large, vectors), fill(small, vectors[:SMALL])))
    await near_indexes.read_indexes()
    assert "caching_near_" not in await plan_of(large, vectors[0])
    assert "caching_entry" in await plan_of(large, vectors[0])

    assert await in_thread(near_indexes.keep_indexes) == (1, 0)
    assert await in_thread(near_indexes.keep_indexes) == (0, 0)
    await near_indexes.read_indexes()
    assert f"Index Scan using {index_name(large.tenant_id, large.digest)}" in await plan_of(large, vectors[0])
    assert "caching_near_" not in await plan_of(small, vectors[0])

    async with tenant_connection(large.tenant_id) as pooled:
        for vector in vectors[::100]:
            found, _ = await search.nearest(pooled, large, vector)
            assert found[0].similarity == pytest.approx(1, abs=0.002)
            assert [near.similarity for near in found] == sorted(
                (near.similarity for near in found), reverse=True
            )


@pytest.mark.parametrize(("dimensions", "count"), [(1_536, 130), (3_072, 65)])
async def test_longer_vectors_get_an_index_sooner(
    origin: Origin, sizes: None, dimensions: int, count: int
) -> None:
    """Those of a provider's model: as many numbers as 500 entries of MiniLM have."""
    scope = scope_of(origin)
    vectors = unit_vectors(count, seed=6, dimensions=dimensions)
    fewer = int(count * 0.9)
    await in_thread(lambda: fill(scope, vectors[:fewer]))
    assert await in_thread(near_indexes.keep_indexes) == (0, 0)
    await in_thread(lambda: CacheEntry.objects.filter(tenant_id=scope.tenant_id).delete())
    await in_thread(lambda: fill(scope, vectors))
    assert await in_thread(near_indexes.keep_indexes) == (1, 0)
    await near_indexes.read_indexes()
    assert near_indexes.dimensions_of(scope) == dimensions
    assert index_name(scope.tenant_id, scope.digest) in await plan_of(scope, vectors[0])
    async with tenant_connection(scope.tenant_id) as pooled:
        for vector in vectors[::20]:
            found, _ = await search.nearest(pooled, scope, vector)
            assert found[0].similarity == pytest.approx(1, abs=0.002)
            assert found[1].similarity < 0.5
    await in_thread(lambda: CacheEntry.objects.filter(
        tenant_id=scope.tenant_id, question_digest__gte=(count // 3).to_bytes(16, "big")
    ).delete())  # fmt: skip
    assert await in_thread(near_indexes.keep_indexes) == (0, 1)


async def test_expired_entries_do_not_take_the_place_of_living_ones(origin: Origin, sizes: None) -> None:
    scope, vectors = scope_of(origin), unit_vectors(LARGE, seed=2)
    await in_thread(lambda: fill(scope, vectors, lives="-1 hour"))
    await in_thread(lambda: CacheEntry.objects.filter(question_digest=(7).to_bytes(16, "big"),
                                                      tenant_id=scope.tenant_id)
                    .update(expires_at="2999-01-01T00:00:00Z"))  # fmt: skip
    await in_thread(near_indexes.keep_indexes)
    await near_indexes.read_indexes()
    assert near_indexes.dimensions_of(scope) == DIMENSIONS
    async with tenant_connection(scope.tenant_id) as pooled:
        found, _ = await search.nearest(pooled, scope, vectors[3])
    assert len(found) == 1  # the only one that lives, however far it is


async def test_a_scope_that_shrank_loses_its_index_and_is_still_searched(origin: Origin, sizes: None) -> None:
    scope, vectors = scope_of(origin), unit_vectors(LARGE, seed=3)
    await in_thread(lambda: fill(scope, vectors))
    await in_thread(near_indexes.keep_indexes)
    await near_indexes.read_indexes()
    few = [number.to_bytes(16, "big") for number in range(100)]
    await in_thread(lambda: CacheEntry.objects.filter(tenant_id=scope.tenant_id)
                    .exclude(question_digest__in=few).delete())  # fmt: skip
    assert await in_thread(near_indexes.keep_indexes) == (0, 1)
    async with tenant_connection(scope.tenant_id) as pooled:
        found, _ = await search.nearest(pooled, scope, vectors[5])  # this process has not heard of it yet
    assert found[0].similarity == pytest.approx(1, abs=0.002)
    await near_indexes.read_indexes()
    assert near_indexes.dimensions_of(scope) is None


async def test_there_is_a_ceiling_and_the_largest_come_first(
    origin: Origin, sizes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_indexes, "MOST_INDEXES", 1)
    first, larger = scope_of(origin), scope_of(origin, prompt_version="larger")
    await in_thread(lambda: fill(first, unit_vectors(LARGE, seed=4)))
    assert await in_thread(near_indexes.keep_indexes) == (1, 0)
    await in_thread(lambda: fill(larger, unit_vectors(LARGE + 50, seed=5)))
    assert await in_thread(near_indexes.keep_indexes) == (1, 1)
    await near_indexes.read_indexes()
    assert near_indexes.dimensions_of(first) is None
    assert near_indexes.dimensions_of(larger) == DIMENSIONS


async def test_an_index_that_a_crash_left_unfinished_is_built_anew(origin: Origin, sizes: None) -> None:
    scope = scope_of(origin)
    await in_thread(lambda: fill(scope, unit_vectors(LARGE, seed=6)))
    await in_thread(near_indexes.keep_indexes)
    name = index_name(scope.tenant_id, scope.digest)

    def forget_comment() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"COMMENT ON INDEX {name} IS NULL")

    await in_thread(forget_comment)
    assert await in_thread(near_indexes.keep_indexes) == (1, 1)


def test_an_old_pgvector_is_refused(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database_checks.pgvector_is_new_enough(databases=["default"]) == []
    monkeypatch.setattr(database_checks, "pgvector_version", lambda: (0, 8, 3))
    [error] = database_checks.pgvector_is_new_enough(databases=["default"])
    assert error.id == "caching.E001"
    assert "0.8.3" in error.msg
