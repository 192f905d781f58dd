"""`make bench-semantic`: what a look-up of the semantic cache costs, by the size of the tenant's scope among many others.

The product's own `look_up` in this process: the question is embedded by MiniLM, its neighbours are searched in PostgreSQL
and judged. No question is asked twice, so nothing is remembered. The recall is the search's, against an exact search; see
`bench-cache-search`. CPU is this process's, with the embedder's threads, and PostgreSQL's.

    make bench-semantic         ROWS=1000000 QUERIES=200 SIZES=1000,10000,100000
"""

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench_cache_search as searching
from benchmarks import cache_product, results_file
from benchmarks.load import processes
from benchmarks.load.keeping import NOTE
from benchmarks.own_servers import own_postgres

WARM = 20
TEXT_WORDS, TOGETHER = (3, 10, 25, 62, 126, 254), (1, 4, 16)
# as long as people ask; each number makes another question
QUESTION = "How do I change the setting number {} of my account, and who has to agree to it before it counts?"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a look-up in a scope of so many entries."""

    entries: int
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    postgres_cpu_ms: float
    embedding_cpu_ms: float
    recall_at_1: float
    recall_at_5: float


def main() -> None:
    machine = results_file.machine()
    os.environ.setdefault("CACHE_BUDGET_SCALE", "20")  # what takes long is measured, not given up
    with own_postgres():
        rows = fill_and_measure()
    embedding = embedding_rows()
    figures = {"rows_in_all": searching.ROWS, "queries": searching.QUERIES}
    path = results_file.write(
        "semantic",
        {
            "machine": machine,
            "note": NOTE,
            **figures,
            "look_ups": [asdict(row) for row in rows],
            "embedding": embedding,
        },
    )
    print(f"written to {path.relative_to(path.parents[2])}")


def embedding_rows() -> list[dict[str, float]]:
    """CPU of the embedder by the length of texts and how many are computed together."""
    from caching.embedders.registry import load_minilm

    embedder = load_minilm().embedder
    rows = []
    for words in TEXT_WORDS:
        row: dict[str, float] = {"tokens": embedder.tokens_of(" ".join(["word"] * words))}
        for together in TOGETHER:
            texts = [" ".join(["word"] * words)] * together
            embedder.embed(texts)
            took = []
            for _ in range(max(4, 24 // together)):
                began = time.process_time()
                embedder.embed(texts)
                took.append(1000 * (time.process_time() - began) / together)
            row[f"cpu_ms_{together}_together"] = round(float(np.median(took)), 2)
        print(row, flush=True)
        rows.append(row)
    return rows


def fill_and_measure() -> list[Row]:
    random = np.random.default_rng(7)
    vectors = searching.clustered(max(searching.SIZES), random)
    scopes = _scopes()
    searching.fill(scopes, vectors)
    recalls = [
        searching.measure(scope, vectors, size, random)[-1]
        for scope, size in zip(scopes, searching.SIZES, strict=True)
    ]
    return asyncio.run(_look_up_all(recalls))


def _origin(number: int) -> Any:
    return cache_product.origin_of(1, prompt_version=str(number))


def _scopes() -> list[Any]:
    """The scopes in which the product will look, one for each size."""
    from dataclasses import replace

    from caching.embedders.registry import load_minilm
    from caching.scope import scope_of

    embedder = load_minilm()
    space = embedder.space_of(cache_product.embed([QUESTION])[0])
    body = cache_product.body_of(QUESTION)
    scopes = [
        scope_of(body, origin=_origin(number), embedder=embedder.name)
        for number in range(len(searching.SIZES))
    ]
    return [replace(scope, embedder=space) for scope in scopes]


async def _look_up_all(recalls: list[Any]) -> list[Row]:
    """The rows of all sizes, in one event loop: the embedder belongs to it."""
    from caching.entries import near_indexes
    from config.resources import resources

    rows = []
    async with resources():
        await near_indexes.read_indexes()
        for number, (size, recall) in enumerate(zip(searching.SIZES, recalls, strict=True)):
            rows.append(await _look_up(number, size, recall))
            print(asdict(rows[-1]), flush=True)
    return rows


async def _look_up(number: int, size: int, recall: Any) -> Row:
    from caching.embedders.registry import ready_minilm
    from caching.semantic import cache as semantic
    from tenants.policy import CachePolicy

    policy = CachePolicy(semantic="static", threshold=0.95)
    postgres = int(Path(os.environ["PURSER_HOME"], "postgres", "postmaster.pid").read_text().split()[0])
    seconds: list[float] = []
    embedder = await ready_minilm()
    embedding = time.process_time()
    for query in range(searching.QUERIES):
        await embedder.embed_one(QUESTION.format(f"{size} {query} alone"), tenant_id=1)
    embedding = time.process_time() - embedding
    own = database = 0.0
    for query in range(WARM + searching.QUERIES):
        if query == WARM:
            own, database = time.process_time(), processes.cpu_seconds(postgres)
        began = time.perf_counter()
        found = await semantic.look_up(
            cache_product.body_of(QUESTION.format(f"{size} {query}")),
            origin=_origin(number),
            policy=policy,
            traits=cache_product.traits(),
        )
        seconds.append(time.perf_counter() - began)
        assert found.best is not None, found.reason
    own, database = time.process_time() - own, processes.cpu_seconds(postgres) - database
    measured = np.array(seconds[WARM:]) * 1000
    each = 1000 / searching.QUERIES
    return Row(
        size,
        *(round(float(np.percentile(measured, share)), 2) for share in (50, 99)),
        *(round(cpu * each, 2) for cpu in (own + database, database, embedding)),
        recall.recall_at_1,
        recall.recall_at_5,
    )


if __name__ == "__main__":
    main()
