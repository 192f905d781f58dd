"""What the chaos tests share: a load of calls, and an observer of the budgets from outside."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from tests.world import Member

READ_WINDOWS = """
SELECT window_.id, window_.held, window_.spent, budget.limit_amount
FROM billing_budgetwindow AS window_ JOIN billing_budget AS budget ON budget.id = window_.budget_id
WHERE window_.tenant_id = %s
"""


@dataclass
class Outcome:
    """How one call ended for its client: a status, 0 for a connection that broke."""

    status: int
    code: str = ""
    request_id: str = ""


@dataclass
class Load:
    """Calls made side by side until told to stop, or so many."""

    base_url: str
    member: Member
    body: dict[str, Any]
    outcomes: list[Outcome] = field(default_factory=list)
    is_over: bool = False

    def statuses(self) -> Counter[int]:
        return Counter(outcome.status for outcome in self.outcomes)

    async def run(self, *, clients: int, calls: int | None = None) -> None:
        """So many clients, each calling again when answered."""
        numbers = iter(range(calls if calls is not None else 10**9))
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            await asyncio.gather(*(self._client(session, numbers) for _ in range(clients)))

    async def _client(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for number in numbers:
            if self.is_over:
                return
            outcome = await self._call(session, number)
            self.outcomes.append(outcome)
            if outcome.status in (0, 503):  # as an SDK would: a moment later, not at once
                await asyncio.sleep(0.1)

    async def _call(self, session: aiohttp.ClientSession, number: int) -> Outcome:
        is_stream = self.body.get("stream") == "sometimes"
        body = {**self.body, "stream": is_stream and number % 2 == 0}
        headers = {"authorization": f"Bearer {self.member.key}", "x-purser-cache": "off"}
        try:
            async with session.post(
                f"{self.base_url}/v1/chat/completions", json=body, headers=headers
            ) as response:
                text = await response.text()
                code = "" if response.status == 200 else (await response.json())["error"]["code"]
                if response.status == 200 and not body["stream"]:
                    assert '"purser"' in text
                return Outcome(response.status, code, response.headers.get("x-request-id", ""))
        except (aiohttp.ClientError, OSError):
            return Outcome(0)


@dataclass
class Observer:
    """An outsider who reads spent and held of a tenant's windows, again and again, on a connection of its own."""

    looks: int = 0
    most: Decimal = Decimal(0)
    excesses: list[tuple[Any, ...]] = field(default_factory=list)


@contextmanager
def watched(tenant_id: int, *, database_url: str) -> Iterator[Observer]:
    """Watch the tenant's windows while the block runs."""
    import psycopg

    observer, stop = Observer(), threading.Event()

    def look() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not stop.is_set():
                for window_id, held, spent, limit in connection.execute(READ_WINDOWS, (tenant_id,)):
                    observer.most = max(observer.most, held + spent)
                    if held + spent > limit:
                        observer.excesses.append((window_id, held, spent, limit))
                observer.looks += 1
                stop.wait(0.005)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield observer
    finally:
        stop.set()
        thread.join()
