"""`make bench-chunks`: what the gateway adds to a stream: until its first token, to each chunk, and in CPU per chunk.

The same streams go to the upstream itself, through a relay without a product, through a tenant with nothing on, and through
one with everything on. The upstream sends CHUNKS_PER_SECOND chunks a second on each of PARALLEL streams. The gateway has a
core for itself.

    make bench-chunks           PARALLEL=16 CHUNKS=400 CHUNKS_PER_SECOND=50 REPEATS=3
"""

import asyncio
import functools
import os
import random
import statistics
from collections.abc import Mapping, Sequence

from benchmarks import results_file
from benchmarks.load import streams
from benchmarks.load.generators import Request
from benchmarks.load.keeping import NOTE
from benchmarks.load.product import product, raw_relay
from benchmarks.load.scenarios import PLAIN_KEY, chat, everything
from benchmarks.load.stream_upstream import stream_upstream

PARALLEL = int(os.environ.get("PARALLEL", "16"))
CHUNKS = int(os.environ.get("CHUNKS", "400"))
SHORT_CHUNKS = 40
CHUNKS_PER_SECOND = float(os.environ.get("CHUNKS_PER_SECOND", "50"))
REPEATS = int(os.environ.get("REPEATS", "3"))

Target = tuple[Request, Mapping[str, Sequence[int]]]


def main() -> None:
    machine = results_file.machine()
    upstream = functools.partial(stream_upstream, chunks_per_second=CHUNKS_PER_SECOND)
    with product(upstream) as site, raw_relay(site) as (raw_url, raw_pid):
        targets: dict[str, Target] = {
            "raw": (chat(raw_url), {"gateway": [raw_pid]}),
            "plain": (chat(site.base_url, key=PLAIN_KEY), site.parts),
            "everything": (everything(site.base_url), site.parts),
        }
        figures = asyncio.run(measure((chat(site.upstream_url), {}), targets))
    for name in ("plain", "everything"):
        figures[name]["cpu_ratio_to_raw"] = round(
            figures[name]["cpu_ms_per_chunk"] / figures["raw"]["cpu_ms_per_chunk"], 2
        )
    more = {"streams": PARALLEL, "chunks": CHUNKS, "chunks_per_second": CHUNKS_PER_SECOND, "repeats": REPEATS}
    path = results_file.write("chunks", {"machine": machine, "note": NOTE, **more, "through": figures})
    for name, row in figures.items():
        print(f"{name:12} " + "  ".join(f"{figure} {value}" for figure, value in row.items()))
    print(f"written to {path.relative_to(path.parents[2])}")


async def measure(direct: Target, targets: Mapping[str, Target]) -> dict[str, dict[str, float]]:
    """The medians of the rounds; in each the servers come in a random order."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
    for request, parts in (direct, *targets.values()):
        await streams.read_streams(request, streams=PARALLEL, chunks=SHORT_CHUNKS, parts=parts)  # warm
    for _ in range(REPEATS):
        without = await _read(direct, CHUNKS)
        for name in random.sample(list(targets), len(targets)):
            short, long = await _read(targets[name], SHORT_CHUNKS), await _read(targets[name], CHUNKS)
            runs[name].append(streams.figures_of(short, long, without))
            print(f"  {name:12} {runs[name][-1]}", flush=True)
    return {
        name: {figure: round(statistics.median(row[figure] for row in rows), 4) for figure in rows[0]}
        for name, rows in runs.items()
    }


async def _read(target: Target, chunks: int) -> streams.Reading:
    request, parts = target
    return await streams.read_streams(request, streams=PARALLEL, chunks=chunks, parts=parts)


if __name__ == "__main__":
    main()
