"""`make bench-streams`: two thousand streams open at one time, through two workers, against the sandbox.

Every stream is counted by its client, the workers' memory is read before and while all of them are open, and afterwards the
books are compared with the sandbox's invoice call by call, or the benchmark fails. Client, sandbox, PostgreSQL and gateway
share the machine, so the latencies are those of a machine that is full.

The pace is so slow that the first stream still runs when the last has begun; on a machine that is too busy to begin them in
that time fewer are open at once, and the table says how many.

What the gateway adds to each chunk is measured by `bench_chunks`, which `make bench-streams` runs before this.

    make bench-streams          STREAMS=2000 TOKENS_PER_SECOND=0.2 by default: five minutes
"""

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import results_file
from benchmarks.own_servers import own_postgres
from config.running import embedded
from config.running.processes import Child, spawn

STREAMS = int(os.environ.get("STREAMS", "2000"))
WORKERS = 2
WORDS = 40
TOKENS_PER_SECOND = float(os.environ.get("TOKENS_PER_SECOND", "0.2"))
STARTS_PER_SECOND = 100
PATIENCE_SECONDS = 900
KEY = "key-of-bench-streams-0123456789abcdef"
ROOT = Path(__file__).resolve().parent.parent
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(slots=True)
class Told:
    """What one client saw of its stream. Seconds; `events` are those with data."""

    first_byte: float
    events: int
    is_whole: bool
    status: int


def main() -> None:
    machine = results_file.machine()
    with own_postgres() as database_url, site(database_url) as (base_url, sandbox_url, web_pid):
        figures = asyncio.run(measure(base_url, web_pid))
        figures |= check_books(sandbox_url)
    path = results_file.write("streams", {"machine": machine, "workers": WORKERS, **figures})
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):34} {value}")
    print(f"written to {path.relative_to(path.parents[2])}")


@contextlib.contextmanager
def site(database_url: str) -> Iterator[tuple[str, str, int]]:
    """Redis, the sandbox at a slow pace, and the web server: its address, the sandbox's, and its process."""
    from config.running import web
    from llm.configuration import apply_configuration

    home = Path(os.environ["PURSER_HOME"])
    redis = embedded.start_redis(home)
    children: list[Child] = []

    def start(name: str, *arguments: str, url: str) -> Child:
        log = home / "logs" / f"{name}.log"
        environment = {**os.environ, "REDIS_URL": redis.url, **web.clean_metrics(home / "metrics")}
        command = [sys.executable, *arguments]
        children.append(Child(name, spawn(command, log=log, folder=ROOT, environment=environment), log))
        wait_until(lambda: answers(url))
        return children[-1]

    try:
        sandbox_url = f"http://127.0.0.1:{(port := embedded.free_port())}"
        pace = ("--port", str(port), "--tokens-per-second", str(TOKENS_PER_SECOND))
        start("sandbox", "-m", "llm.sandbox", *pace, url=f"{sandbox_url}/healthz")
        apply_configuration(
            json.dumps(configuration(sandbox_url)), source="bench.yaml", environ={}, dry_run=False
        )
        (home / "static").mkdir(exist_ok=True)
        base_url = f"http://127.0.0.1:{(port := embedded.free_port())}"
        command = web.granian(host="127.0.0.1", port=port, workers=WORKERS, static_root=home / "static")
        server = start("web", *command[1:], url=f"{base_url}/readyz")
        yield base_url, sandbox_url, server.process.pid
    finally:
        for child in reversed(children):
            child.ask_to_stop()
            child.end(within_seconds=30)
        redis.stop()


def configuration(sandbox_url: str) -> dict[str, Any]:
    """One model, one tenant, and budgets that count every call."""
    prices = [
        {"meter": meter, "usd_per_million": price} for meter, price in (("input", "1"), ("output", "4"))
    ]
    budget = {"scope": "tenant", "period": "month", "mode": "hard"}
    return {
        "providers": [
            {"name": "sandbox", "kind": "openai", "base_url": f"{sandbox_url}/v1", "api_key": "sk-bench"}
        ],
        "models": [
            {"name": "gpt-4o-mini", "provider": "sandbox", "context_window": 128000, "prices": prices}
        ],
        "tenants": [
            {
                "slug": "bench",
                "keys": [{"name": "main", "secret": KEY}],
                "budgets": [
                    {**budget, "unit": "usd", "limit": "1000"},
                    {**budget, "unit": "tokens", "limit": "1000000000"},
                ],
            }
        ],
    }


async def measure(base_url: str, web_pid: int) -> dict[str, Any]:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    async with aiohttp.ClientSession(base_url, connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(one(session, words=1) for _ in range(50)))  # pools open, code warm
        before_bytes = memory_of(web_pid)
        began = time.perf_counter()
        streams = []
        for _ in range(STREAMS):
            streams.append(asyncio.create_task(one(session, words=WORDS)))
            await asyncio.sleep(1 / STARTS_PER_SECOND)
        most_open, most_bytes = 0.0, before_bytes
        while not all(stream.done() for stream in streams):
            now_open = await asyncio.to_thread(gauge, base_url, "purser_calls_in_flight")
            most_bytes = max(most_bytes, memory_of(web_pid))
            most_open = max(most_open, now_open)
            await asyncio.sleep(0.5)
        told = await asyncio.gather(*streams)
        seconds = time.perf_counter() - began
    first_bytes = sorted(one.first_byte for one in told)
    return {
        "streams": STREAMS,
        "tokens_per_second_of_each": TOKENS_PER_SECOND,
        "open_at_one_time": int(most_open),
        "complete": sum(one.is_whole for one in told),
        "refused_or_broken": sum(not one.is_whole for one in told),
        "events": sum(one.events for one in told),
        "seconds": round(seconds, 1),
        "first_byte_p50_ms": round(statistics.median(first_bytes) * 1000),
        "first_byte_p99_ms": round(first_bytes[int(len(first_bytes) * 0.99)] * 1000),
        "workers_mb_before": round(before_bytes / 1e6, 1),
        "workers_mb_at_most": round(most_bytes / 1e6, 1),
        "kb_per_stream": round((most_bytes - before_bytes) / max(1, most_open) / 1e3, 1),
        "streams_per_gb": round(most_open * 1e9 / max(1, most_bytes - before_bytes)),
    }


async def one(session: aiohttp.ClientSession, *, words: int) -> Told:
    """One stream, read to its end."""
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": f"Write {words} words. {time.perf_counter_ns()}"}],
        "stream": True,
        "max_tokens": 2 * words,
    }
    began, first, events, tail = time.perf_counter(), 0.0, 0, b""
    headers = {"authorization": f"Bearer {KEY}", "x-purser-cache": "off"}
    async with session.post("/v1/chat/completions", json=body, headers=headers) as response:
        async for piece in response.content.iter_any():
            first = first or time.perf_counter() - began
            events += piece.count(b"data: ")
            tail = (tail + piece)[-2000:]
    is_whole = response.status == 200 and b"data: [DONE]" in tail and b'"purser":' in tail
    return Told(first, events, is_whole, response.status)


def check_books(sandbox_url: str) -> dict[str, Any]:
    """The ledger and the provider's invoice, call by call; raises where they differ."""
    from billing.models import Attempt, BudgetWindow, UsageLine, UsageRecord

    wait_until(lambda: not Attempt.objects.filter(state__in=("held", "sent")).exists())
    with LOCAL.open(f"{sandbox_url}/control/calls", timeout=60) as response:
        calls = json.load(response)["calls"]
    lines: dict[Any, dict[str, int]] = {}
    for record_id, meter, quantity in UsageLine.objects.values_list("record_id", "meter", "quantity"):
        lines.setdefault(record_id, {})[meter] = int(quantity)
    rows = list(UsageRecord.objects.all())
    booked = sorted((row.upstream_id, sorted(lines[row.pk].items())) for row in rows)
    invoiced = sorted((call["request_id"], sorted(call["billed"].items())) for call in calls)
    assert booked == invoiced, "the books differ from the provider's invoice"
    assert {attempt.state for attempt in Attempt.objects.all()} == {"captured"}
    spent = {
        "usd": sum(row.billed_cost for row in rows),
        "tokens": sum(r.input_tokens + r.output_tokens for r in rows),
    }
    for window in BudgetWindow.objects.all():
        assert (window.held, window.spent) == (0, spent[window.unit]), "a window differs from the ledger"
    return {"booked_and_invoiced_alike": len(booked), "held_after": 0}


def memory_of(pid: int) -> int:
    """What the server's workers hold, shared pages counted once for each sharer's part."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(
        int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{child}/smaps_rollup").read_text(), re.MULTILINE)[1])
        * 1024  # type: ignore[index]
        for child in children
    )


def gauge(base_url: str, name: str) -> float:
    with LOCAL.open(f"{base_url}/metrics", timeout=60) as response:
        text = response.read().decode()
    return sum(map(float, re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, flags=re.MULTILINE)))


def answers(url: str) -> bool:
    try:
        with LOCAL.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


if __name__ == "__main__":
    main()
