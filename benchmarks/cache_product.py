"""Drives the product's semantic cache over pgvector, request by request, as a gateway without a network would.

Invariant: every request goes through the product's `look_up`; what it does not serve is answered "upstream" with its
class's answer, from which the product learns and which it keeps, before the next request comes. The benchmark knows the
truth; the product sees answers only. Vectors are made by the product's embedder beforehand, one text at a time.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache_files import Pairs, Stream
from benchmarks.cache_peers import Outcome, Vectors

CPU_LOOKUPS = 300


@dataclass(slots=True)
class Run:
    """One order of a stream: what was served, and how certain the product was of each request's best candidate."""

    tenant_id: int
    outcome: Outcome
    certainties: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    bypassed: int = 0
    failed: int = 0
    learning_seconds: float = 0.0

    def picked(self, wrong_rate: float) -> float:
        """The largest share that any one threshold, chosen in hindsight, serves within a rate of wrong hits."""
        return picked(self.certainties, self.right, wrong_rate, self.outcome.requests)


def picked(scores: Sequence[float], right: Sequence[bool], wrong_rate: float, requests: int) -> float:
    """Hits per request at the lowest cut within the rate. Equal scores are served together."""
    order = np.argsort(-np.array(scores), kind="stable")
    ordered = np.array(scores)[order]
    wrong = np.cumsum(~np.array(right, bool)[order])
    served = np.arange(1, len(order) + 1)
    fits = (wrong <= wrong_rate * served) & np.append(ordered[:-1] > ordered[1:], [True])
    return float(served[fits].max(initial=0)) / requests


def set_up() -> None:
    """Django in a process of its own, on the servers whose addresses the environment names."""
    import django

    django.setup()


def make_tenant(name: str) -> int:
    from django.db import connections

    from tenants.models import Tenant

    tenant = Tenant.objects.create(slug=f"bench-{name}", name=name)
    connections.close_all()
    return int(tenant.pk)


def embed(texts: Sequence[str]) -> Vectors:
    """The product's vectors, one text at a time: a text's vector depends on nothing else."""
    from caching.embedders.registry import load_minilm

    return load_minilm().embedder.embed(texts)


def run_stream(stream: Stream, vectors_file: Path, *, seed: int, bound: float) -> Run:
    """One order of a stream through the product, cold. In a process of its own."""
    set_up()
    order = order_of(stream, seed)
    random.seed(seed)
    tenant_id = make_tenant(f"{stream.name}-{bound}-{seed}".replace(":", "-").replace(".", "-").lower())
    return asyncio.run(_walk(stream, np.load(vectors_file, mmap_mode="r"), order, tenant_id, bound))


def order_of(stream: Stream, seed: int) -> list[int]:
    order = list(range(len(stream.texts)))
    random.Random(seed).shuffle(order)
    return order


async def _walk(stream: Stream, vectors: Any, order: list[int], tenant_id: int, bound: float) -> Run:
    from caching.embedders.batching import BatchingEmbedder
    from caching.embedders.registry import load_minilm
    from caching.semantic import cache as semantic
    from config.resources import resources
    from tenants.policy import CachePolicy

    policy = CachePolicy(semantic="bounded", max_error_rate=bound, max_entries=10_000_000)
    embedder = BatchingEmbedder(load_minilm().embedder, kept=len(order) + 1)
    for place, text in enumerate(stream.texts):
        embedder.keep(text, np.array(vectors[place]), tenant_id=tenant_id)
    run = Run(tenant_id, Outcome(len(order), 0, 0))
    hits = wrong = late = extra = 0
    async with resources():
        for number, place in enumerate(order):
            expected = answer_text(stream.answers[place])
            found = await semantic.look_up(
                body_of(stream.texts[place]),
                origin=origin_of(tenant_id),
                policy=policy,
                traits=traits(),
                embedder=embedder,
            )
            run.bypassed += found.outcome == "bypass"
            run.failed += found.reason in ("unavailable", "scope_too_slow", "no_vector")
            is_checked = found.label_weight > 1
            extra += is_checked
            if found.is_hit:
                assert found.answer is not None
                is_wrong = found.answer.text != expected
                hits += 1
                wrong += is_wrong
                late += number >= len(order) // 2
            if found.best is not None and found.best.certainty is not None:
                run.certainties.append(found.best.certainty)
                run.right.append(stream.answers[place] == await _answer_number(found))
            if found.is_hit and not is_checked:
                continue
            began = time.process_time()
            group = await semantic.observe(found, expected, policy=policy)
            run.learning_seconds += time.process_time() - began
            if not found.is_hit:
                await semantic.remember(found, answer_of(expected), policy=policy, group=group)
    run.outcome = Outcome(len(order), hits, wrong, late, extra)
    return run


async def _answer_number(found: Any) -> int:
    from caching.entries import search

    answers = [found.answer] if found.answer else []
    if not answers:
        answers = list((await search.read_answers(found.scope, [found.best.entry_id])).values())
    return int(answers[0].text.split()[-1]) if answers else -1


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair as the product sees it: how near, what the guards say, how certain, whether it may be served at all."""

    is_right: bool
    kind: str
    similarity: float
    flags: tuple[str, ...]
    certainty: float


def run_pairs(pairs: Pairs, begin: int, end: int) -> list[Judged]:
    """Each pair in a scope of its own: the first question is kept, the second looked up. In a process of its own."""
    set_up()
    tenant_id = make_tenant(f"{pairs.name}-{begin}".lower().replace("_", "-"))
    return asyncio.run(_judge(pairs.rows[begin:end], tenant_id))


async def _judge(rows: list[tuple[str, str, bool, str]], tenant_id: int) -> list[Judged]:
    from caching.answers import pack
    from caching.embedders.registry import ready_minilm
    from caching.entries import storing
    from caching.scope import scope_of
    from caching.semantic import cache as semantic
    from config.resources import resources
    from tenants.policy import CachePolicy

    policy = CachePolicy(semantic="bounded", max_entries=10_000_000)
    judged = []
    answer = answer_of(answer_text(0))
    async with resources():
        embedder = await ready_minilm()
        for number, (kept, asked, is_right, kind) in enumerate(rows):
            origin = origin_of(tenant_id, prompt_version=str(number))
            scope = scope_of(body_of(kept), origin=origin, embedder=embedder.name)
            vector = await embedder.embed_one(kept, tenant_id=tenant_id)
            await storing.store(
                scope, vector=vector, answer=answer, packed=pack(answer), policy=policy, asker=None
            )
            found = await semantic.look_up(body_of(asked), origin=origin, policy=policy, traits=traits())
            best = found.best
            may_serve = best is not None and best.certainty is not None and found.reason == "closed"
            judged.append(
                Judged(
                    is_right,
                    kind,
                    best.similarity if best else -1.0,
                    best.differences if best else (),
                    best.certainty if best and may_serve and best.certainty is not None else -1.0,
                )
            )
    return judged


def cpu_per_lookup(stream: Stream, tenant_id: int, *, bound: float, home: Path) -> tuple[float, float]:
    """CPU milliseconds of a look-up in a filled scope, nothing memoised: this process's, and PostgreSQL's.

    A scope that is large enough has the index that the schedule would have built by then.
    """
    set_up()
    from django.db import connections

    from caching.entries.near_indexes import keep_indexes

    keep_indexes()
    connections.close_all()
    return asyncio.run(_measure_cpu(stream, tenant_id, bound, home))


async def _measure_cpu(stream: Stream, tenant_id: int, bound: float, home: Path) -> tuple[float, float]:
    from caching.embedders.batching import BatchingEmbedder
    from caching.embedders.registry import load_minilm
    from caching.entries.near_indexes import read_indexes
    from caching.semantic import cache as semantic
    from config.resources import resources
    from tenants.policy import CachePolicy

    policy = CachePolicy(semantic="bounded", max_error_rate=bound)
    embedder = BatchingEmbedder(load_minilm().embedder, kept=1)
    # As a user might type them, so that neither vector nor comparison is in memory.
    texts = [f"{text} please" for text in stream.texts[: 2 * CPU_LOOKUPS]]
    own = database = 0.0
    async with resources():
        await read_indexes()
        for number, text in enumerate(texts):
            if number == len(texts) // 2:  # the first half has warmed up what is loaded once
                own, database = time.process_time(), _database_seconds(home)
            await semantic.look_up(
                body_of(text), origin=origin_of(tenant_id), policy=policy, traits=traits(), embedder=embedder
            )
        measured = len(texts) - len(texts) // 2
        return (
            (time.process_time() - own) * 1000 / measured,
            (_database_seconds(home) - database) * 1000 / measured,
        )


def _database_seconds(home: Path) -> float:
    """CPU seconds of the benchmark's PostgreSQL and its backends so far."""
    import os

    (pid_file,) = home.rglob("postmaster.pid")
    postmaster = int(pid_file.read_text().split()[0])
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if postmaster in (int(fields[1]), int(stat.parent.name)):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def body_of(text: str) -> dict[str, Any]:
    return {"model": "bench", "messages": [{"role": "user", "content": text}]}


def origin_of(tenant_id: int, *, prompt_version: str = "") -> Any:
    from caching.scope import Origin

    return Origin(
        tenant_id=tenant_id, circle="tenant", endpoint="chat", route="bench", prompt_version=prompt_version
    )


def traits() -> Any:
    from caching.eligibility import Traits

    return Traits()


def answer_text(number: int) -> str:
    """Another class, another number: the product's own rule for answers tells them apart."""
    return f"This is answer number {number}"


def answer_of(text: str) -> Any:
    from caching.answers import CachedAnswer

    return CachedAnswer(
        body={"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]},
        endpoint="chat",
        model="bench",
        provider="bench",
        text=text,
    )
