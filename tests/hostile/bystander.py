"""Another tenant, who calls as ever while somebody means harm: whether it is served, how fast, and what is left behind.

Invariant: it measures; only who asks for it judges. Latencies are told as ratios to the quiet minute's, on the same machine.
"""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


@dataclass
class Bystander:
    """Small calls, one after the other on two connections, so that no worker goes unseen."""

    base_url: str
    key: str
    model: str
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    _numbers: int = 0

    def forget(self) -> None:
        """Begin to measure anew."""
        self.statuses.clear()
        self.latencies.clear()

    def figures(self) -> dict[str, float]:
        """Milliseconds of the middle and of the slowest in a hundred."""
        if len(self.latencies) < 2:
            return {"p50_ms": float("nan"), "p99_ms": float("nan")}
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        return {"p50_ms": round(cuts[49] * 1000, 1), "p99_ms": round(cuts[98] * 1000, 1)}

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call while the block runs."""
        over = asyncio.Event()
        tasks = [asyncio.create_task(self._call_on(over)) for _ in range(2)]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*tasks)

    async def call(self, session: aiohttp.ClientSession) -> int:
        """One call; its status, 0 for none."""
        self._numbers += 1
        body = {
            "model": self.model,
            "max_tokens": 16,
            "messages": [{"role": "user", "content": f"What is {self._numbers} and one?"}],
        }
        headers = {"authorization": f"Bearer {self.key}", "x-purser-cache": "off"}
        began = time.perf_counter()
        try:
            async with session.post(
                f"{self.base_url}/v1/chat/completions", json=body, headers=headers
            ) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = 0
        self.latencies.append(time.perf_counter() - began)
        self.statuses[status] += 1
        return status

    async def _call_on(self, over: asyncio.Event) -> None:
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not over.is_set():
                await self.call(session)
                await asyncio.sleep(PAUSE_SECONDS)
