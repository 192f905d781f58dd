"""`make bench-cache`: how often the semantic cache answers, how often it is wrong, and what that costs.

Drives the product's own search, features, weights, threshold and agreement over pgvector (`cache_product`), cold, over
`SEEDS` random orders of a stream, and beside it what static thresholds and vCache would have done with the same vectors.

    make bench-cache                       the files under ../shared/data/cache, where they are
    make bench-cache STREAM=file           {"text", "cls"} a line; .gz or plain
    make bench-cache PAIRS=file            {"a", "b", "label"} a line
    BOUND=0.03  SEEDS=5  LIMIT=n (the first n rows)  VCACHE=0 (without it)

The last line is one JSON object. Shares are of 1; of several files, the last one's object is the last line.
"""

import json
import math
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks import cache_files, cache_peers, cache_product, results_file
from benchmarks.cache_files import Pairs, Stream
from benchmarks.cache_peers import Outcome, Vectors
from benchmarks.cache_product import Judged, Run
from benchmarks.own_servers import own_postgres

SEEDS = int(os.environ.get("SEEDS", "5"))
LIMIT = int(os.environ.get("LIMIT", "0"))
BOUND = float(os.environ.get("BOUND", "0.03"))
WITH_VCACHE = os.environ.get("VCACHE", "1") != "0"
PAIRS_IN_A_PART = 1_000
# Where a file of pairs is only traps and rephrasings, this is the operating point it is reported at.
STATIC_CUT = 0.85


def main() -> None:
    machine = results_file.machine()
    # Nothing here is about the milliseconds that a look-up may take, and a busy machine must not turn hits into misses.
    os.environ["CACHE_BUDGET_SCALE"] = "300"
    sources = _sources()
    figures: list[dict[str, Any]] = []
    with own_postgres() as url, tempfile.TemporaryDirectory() as scratch:
        _write_fast(url)
        with ProcessPoolExecutor(_workers(), multiprocessing.get_context("spawn")) as pool:
            for source in sources:
                if isinstance(source, Pairs):
                    figures.append(_bench_pairs(source, pool))
                else:
                    figures.append(_bench_stream(source, pool, Path(scratch)))
                print(json.dumps(figures[-1]), flush=True)
    is_known = not (os.environ.get("STREAM") or os.environ.get("PAIRS"))
    if is_known and figures and not LIMIT:
        results_file.write("cache", {"machine": machine, "bound": BOUND, "seeds": SEEDS, "files": figures})


def _sources() -> list[Stream | Pairs]:
    """What to run: the file that was named, or those that are known."""
    named = [Path(os.environ[name]) for name in ("STREAM", "PAIRS") if os.environ.get(name)]
    known = [cache_files.KNOWN_FOLDER / f"{name}.jsonl" for name in cache_files.KNOWN_STREAMS]
    known += [cache_files.KNOWN_FOLDER / f"{name}.jsonl" for name in cache_files.KNOWN_PAIRS]
    for path in named or known:
        if not path.exists():
            print(f"{path} is absent: not run")
    sources = [_limited(cache_files.read(path)) for path in named or known if path.exists()]
    if not sources:
        raise SystemExit("nothing to run: name a file with STREAM= or PAIRS=")
    if not named:
        sources = [
            each
            for source in sources
            for each in ([source] if isinstance(source, Pairs) else [source, *_big_parts(source)])
        ]
    return sources


def _big_parts(stream: Stream) -> list[Stream]:
    return [part for part in cache_files.parts_of(stream) if len(part.texts) >= 500]


def _limited(source: Stream | Pairs) -> Stream | Pairs:
    if not LIMIT:
        return source
    if isinstance(source, Pairs):
        return replace(source, rows=source.rows[:LIMIT])
    return replace(
        source, texts=source.texts[:LIMIT], answers=source.answers[:LIMIT], sources=source.sources[:LIMIT]
    )


def _bench_stream(stream: Stream, pool: ProcessPoolExecutor, scratch: Path) -> dict[str, Any]:
    counts = Counter(stream.answers)
    print(
        f"\n{stream.name}: {len(stream.texts)} questions, {len(counts)} answers, at most "
        f"{1 - len(counts) / len(stream.texts):.1%} could be hits; {stream.repeats} exact repeats left out; "
        f"bound {BOUND:.1%}, {SEEDS} orders",
        flush=True,
    )
    vectors = _embedded(stream.texts, pool)
    vectors_file = scratch / "vectors.npy"
    np.save(vectors_file, vectors)
    jobs = [
        pool.submit(cache_product.run_stream, stream, vectors_file, seed=seed, bound=BOUND)
        for seed in range(SEEDS)
    ]
    orders = [cache_product.order_of(stream, seed) for seed in range(SEEDS)]
    print(f"{'':34}  hits  2nd half  wrong  worst  extra calls", flush=True)
    for cut, peer in cache_peers.STATIC_CUTS.items():
        outcomes = [cache_peers.static(stream, vectors, order, cut) for order in orders[:2]]
        _print_row(f"cosine >= {cut:.2f} {f'({peer})' if peer else ''}", outcomes)
    if WITH_VCACHE:
        for delta in (0.02, 0.05):
            outcomes = [
                cache_peers.vcache(stream, vectors, order, delta, seed=seed)
                for seed, order in enumerate(orders[:1])
            ]
            _print_row(f"vCache, delta {delta:.2f}", outcomes)
    runs = [job.result() for job in jobs]
    _print_row("Purser, bounded", [run.outcome for run in runs])
    return _stream_figures(stream, runs, pool)


def _stream_figures(stream: Stream, runs: Sequence[Run], pool: ProcessPoolExecutor) -> dict[str, Any]:
    outcomes = [run.outcome for run in runs]
    own, database = pool.submit(
        cache_product.cpu_per_lookup,
        stream,
        runs[0].tenant_id,
        bound=BOUND,
        home=Path(os.environ["PURSER_HOME"]),
    ).result()
    hits = sum(each.hits for each in outcomes)
    requests = sum(each.requests for each in outcomes)
    learning = 1000 * sum(run.learning_seconds for run in runs) / requests
    at_two = fmean(run.picked(0.02) for run in runs)
    print(
        f"threshold picked in hindsight, wrong <= 2 %: {at_two:.1%} hits. Not eligible: "
        f"{sum(run.bypassed for run in runs) / requests:.1%}; failed: {sum(run.failed for run in runs)}.\n"
        f"CPU per look-up: {own:.1f} ms + PostgreSQL {database:.1f} ms; per request for learning: {learning:.1f} ms"
    )
    return {
        "file": stream.name,
        "bound": BOUND,
        "hit_rate": round(fmean(each.hit_rate for each in outcomes), 4),
        "hit_rate_second_half": round(fmean(each.late_hit_rate for each in outcomes), 4),
        "wrong_hit_rate": round(sum(each.wrong for each in outcomes) / max(hits, 1), 4),
        "worst_seed_wrong_hit_rate": round(max(each.wrong_rate for each in outcomes), 4),
        "extra_calls": round(fmean(each.extra_rate for each in outcomes), 4),
        "wrong_hits_by_seed": [each.wrong for each in outcomes],
        "hits_by_seed": [each.hits for each in outcomes],
        "hit_rate_picked_at_wrong_2": round(at_two, 4),
        "cpu_ms_per_lookup": round(own + database, 2),
        "cpu_ms_learning_per_request": round(learning, 2),
    }


def _bench_pairs(pairs: Pairs, pool: ProcessPoolExecutor) -> dict[str, Any]:
    right = sum(row[2] for row in pairs.rows)
    print(f"\n{pairs.name}: {len(pairs.rows)} pairs, one answer serves both in {right}", flush=True)
    parts = range(0, len(pairs.rows), PAIRS_IN_A_PART)
    jobs = [pool.submit(cache_product.run_pairs, pairs, begin, begin + PAIRS_IN_A_PART) for begin in parts]
    judged = [each for job in jobs for each in job.result()]
    scores = {
        "cosine": [each.similarity for each in judged],
        "cosine, no guard speaks": [-1.0 if each.flags else each.similarity for each in judged],
        "Purser, shipped weights": [each.certainty for each in judged],
    }
    truth = [each.is_right for each in judged]
    rates = (0.01, 0.02, 0.05)
    print(f"{'share served at wrong hits <=':34}" + "".join(f"{rate:8.0%}" for rate in rates))
    table = {
        name: [cache_product.picked(values, truth, rate, len(judged)) for rate in rates]
        for name, values in scores.items()
    }
    for name, row in table.items():
        print(f"{name:34}" + "".join(f"{share:8.1%}" for share in row))
    rules = {
        f"cosine >= {STATIC_CUT}": [each.similarity >= STATIC_CUT for each in judged],
        f"static mode, {STATIC_CUT} and guards": [
            each.similarity >= STATIC_CUT and not each.flags for each in judged
        ],
        "certainty >= 0.5": [each.certainty >= 0.5 for each in judged],
    }
    figures = {name: _reuse(judged, served) for name, served in rules.items()}
    for name, reuse in figures.items():
        print(
            f"{name:34}reused though wrong {reuse['reused']} of {reuse['traps']}, "
            f"reused and right {reuse['recalled']} of {reuse['safe']}"
        )
    at = dict(
        zip(
            ("hit_at_wrong_1", "hit_at_wrong_2", "hit_at_wrong_5"),
            table["Purser, shipped weights"],
            strict=True,
        )
    )
    return {
        "file": pairs.name,
        **{name: round(share, 4) for name, share in at.items()},
        "static_mode": figures[f"static mode, {STATIC_CUT} and guards"],
        "certainty_mode": figures["certainty >= 0.5"],
    }


def _reuse(judged: Sequence[Judged], served: Sequence[bool]) -> dict[str, int]:
    return {
        "reused": sum(
            is_served and not each.is_right for each, is_served in zip(judged, served, strict=True)
        ),
        "traps": sum(not each.is_right for each in judged),
        "recalled": sum(is_served and each.is_right for each, is_served in zip(judged, served, strict=True)),
        "safe": sum(each.is_right for each in judged),
    }


def _embedded(texts: Sequence[str], pool: ProcessPoolExecutor) -> Vectors:
    size = math.ceil(len(texts) / (4 * _workers()))
    parts = [texts[begin : begin + size] for begin in range(0, len(texts), size)]
    return np.concatenate(list(pool.map(cache_product.embed, parts)))


def _workers() -> int:
    return max(1, min(SEEDS, len(os.sched_getaffinity(0))))


def _write_fast(url: str) -> None:
    """A crash of the benchmark's database loses nothing that is worth waiting for."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("SELECT pg_reload_conf()")


def _print_row(name: str, outcomes: Sequence[Outcome]) -> None:
    print(
        f"{name:34}{fmean(each.hit_rate for each in outcomes):6.1%}"
        f"{fmean(each.late_hit_rate for each in outcomes):10.1%}"
        f"{sum(each.wrong for each in outcomes) / max(1, sum(each.hits for each in outcomes)):7.2%}"
        f"{max(each.wrong_rate for each in outcomes):7.2%}"
        f"{fmean(each.extra_rate for each in outcomes):13.1%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
