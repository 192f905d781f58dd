"""What a gateway adds to a stream: until the first token, to each chunk, and in CPU.

Invariant: each chunk has the moment it was sent, so a reader knows how long it was on its way; what the gateway adds is the
difference to the same streams without one. The CPU of a chunk is the slope between short and long streams: what a stream
costs at its beginning and end is not in it.
"""

import asyncio
import random
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from benchmarks.load import processes
from benchmarks.load.generators import Request
from benchmarks.load.stream_upstream import TOKENS_A_CHUNK

STAMP = re.compile(rb'"content": ?"(\d{9,}) "')
PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Seen:
    """One stream as its client saw it, in seconds: until the first token, and how long each chunk was on its way."""

    first_token: float
    on_the_way: list[float]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """Streams through one server. Seconds."""

    first_token_p50: float
    chunk_p50: float
    chunk_p99: float
    chunks: int
    cpu: float


async def read_streams(
    request: Request, *, streams: int, chunks: int, parts: Mapping[str, Sequence[int]]
) -> Reading:
    """So many streams at one time, begun a little apart, read to their ends."""
    roots = parts.get("gateway", ())
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    cpu = processes.cpu_seconds(*roots)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        tasks = []
        for _ in range(streams):
            tasks.append(asyncio.create_task(_read(session, request, chunks=chunks)))
            await asyncio.sleep(random.uniform(0, 0.04))
        seen = await asyncio.gather(*tasks)
    await asyncio.sleep(0.5)  # what the server does after the end
    if not all(one.is_whole for one in seen):
        raise RuntimeError(f"{sum(not one.is_whole for one in seen)} of {streams} streams are not whole")
    later = sorted(seconds for one in seen for seconds in one.on_the_way[1:])
    return Reading(
        statistics.median(one.first_token for one in seen),
        later[len(later) // 2],
        later[int(len(later) * 0.99)],
        sum(len(one.on_the_way) for one in seen),
        processes.cpu_seconds(*roots) - cpu,
    )


def figures_of(short: Reading, long: Reading, direct: Reading) -> dict[str, float]:
    """What a server adds, in milliseconds; CPU per chunk and per stream in milliseconds of the gateway."""
    per_chunk = (long.cpu - short.cpu) / (long.chunks - short.chunks)
    return {
        "first_token_added_ms": round((long.first_token_p50 - direct.first_token_p50) * 1000, 3),
        "chunk_added_p50_ms": round((long.chunk_p50 - direct.chunk_p50) * 1000, 3),
        "chunk_added_p99_ms": round((long.chunk_p99 - direct.chunk_p99) * 1000, 3),
        "cpu_ms_per_chunk": round(per_chunk * 1000, 4),
    }


async def _read(session: aiohttp.ClientSession, request: Request, *, chunks: int) -> Seen:
    text = request.filled(token=random.randrange(10**14), user=0).partition("\r\n\r\n")[2]
    body = text.replace('"max_tokens": 200', f'"max_tokens": {chunks * TOKENS_A_CHUNK}, "stream": true')
    began, first, tail, on_the_way = time.perf_counter(), 0.0, b"", list[float]()
    headers = {**request.headers, "content-type": "application/json"}
    async with session.post(request.url, data=body.encode(), headers=headers) as response:
        async for piece in response.content.iter_any():
            now = time.perf_counter_ns()
            lines, _, tail = (
                (tail + piece).rpartition(b"\n\n") if b"\n\n" in tail + piece else (b"", b"", tail + piece)
            )
            for sent in STAMP.findall(lines):
                first = first or time.perf_counter() - began
                on_the_way.append((now - int(sent)) / 1e9)
        is_whole = response.status == 200 and len(on_the_way) == chunks
    return Seen(first, on_the_way, is_whole)
