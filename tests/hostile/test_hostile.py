"""Everything that somebody who means harm is known to try: what it is answered, who suffers, and what it leaves behind.

In the suite each attack is small and only outcomes are asserted on. `make hostile` makes them larger, measures a bystander's
latency beside its quiet one, prints a table and writes `benchmarks/results/hostile.json`.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import redis

from benchmarks import results_file
from tests.books import Books, eventually
from tests.effort import IS_LONG
from tests.hostile import connections, limits, texts
from tests.hostile.attacker import ATTACKS, Attack, Attacker
from tests.hostile.bystander import Bystander
from tests.stack import Stack
from tests.world import Deployment, Member

SIZE = 5 if IS_LONG else 1
QUIET_SECONDS = 10.0 if IS_LONG else 0.5
REQUEST_SECONDS = 60.0
PACES = ("tokens", "requests", "paused")
POOR = [{"scope": "tenant", "unit": "usd", "period": "month", "limit": "0.02", "mode": "hard"}]

__all__ = ["connections", "limits", "texts"]


@dataclass
class Place:
    """The attacked installation: an account with limits that both tenants share."""

    stack: Stack
    books: Books
    enemy: Member
    model: str
    claude: str
    bystander: Bystander
    accounts: list[str]
    quiet: dict[str, float] = field(default_factory=dict)

    def debts(self) -> dict[str, float]:
        """For how many seconds the account's limits are spoken for."""
        now = time.time()
        found: dict[str, float] = {}
        with redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as client:
            for account in self.accounts:
                kept: Any = client.hgetall(f"purser:provider:{{{account}}}")
                found |= {
                    f"{account} {name}": round(max(0.0, float(kept.get(name) or 0) - now), 1)
                    for name in PACES
                }
        return found

    def held(self) -> int:
        """What is held in budgets, or open among attempts, once it has ended."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: self._held() == 0, patience_seconds=20)
        return self._held()

    def _held(self) -> int:
        windows = sum(1 for window in self.books.windows(self.enemy.id) if window.held)
        return windows + sum(
            attempt.state in ("held", "sent") for attempt in self.books.attempts(self.enemy.id)
        )


@pytest.fixture(scope="module")
def table() -> Iterator[list[dict[str, Any]]]:
    """What each attack did; printed and written when time was taken for it."""
    machine = results_file.machine()
    rows: list[dict[str, Any]] = []
    yield rows
    if not IS_LONG or not rows:
        return
    print(f"\n{'what was tried':34}{'it was answered':44}{'p50':>8}{'p99':>8}   left behind")
    for row in rows:
        answered = ", ".join(f"{count} x {status}" for status, count in row["answered"].items())
        print(
            f"{row['attack']:34}{answered:44.43}{row['p50_ratio']:>8}{row['p99_ratio']:>8}   {row['left'] or 'nothing'}"
        )
    path = results_file.write("hostile", {"machine": machine, "quiet": rows[0]["quiet"], "attacks": rows})
    print(f"latencies of a bystander as ratios to its quiet ones; written to {path.name}")


@pytest.fixture(scope="module")
def kept() -> dict[str, Place]:
    return {}


@pytest.fixture
def place(
    kept: dict[str, Place],
    stack: Stack,
    books: Books,
    make_tenant: Callable[..., Member],
    make_deployment: Callable[..., Deployment],
) -> Place:
    """One place for all attacks: what an earlier one broke, a later one meets."""
    if kept:
        return kept["place"]
    account_limits = {"rpm": 20_000, "tpm": 2_000_000, "concurrency": 200}
    chat = make_deployment(limits=account_limits)
    claude = make_deployment("anthropic", limits=account_limits)
    enemy = make_tenant("enemy", budgets=POOR, policy={"cache": {"exact": True, "semantic": "static"}})
    peaceful = make_tenant("bystander", policy={"cache": {"exact": False, "semantic": "off"}})
    bystander = Bystander(stack.base_url, peaceful.key, chat.model)
    kept["place"] = Place(
        stack, books, enemy, chat.model, claude.model, bystander, [chat.provider, claude.provider]
    )
    return kept["place"]


@pytest.mark.parametrize(
    "attack",
    [pytest.param(attack, id=attack.name) for attack in ATTACKS],
)
def test_nobody_is_harmed(place: Place, table: list[dict[str, Any]], attack: Attack) -> None:
    before = place.debts()
    answered, loud = asyncio.run(_try(place, attack))
    served = asyncio.run(_served(place))
    left = (
        {name: debt for name, debt in place.debts().items() if debt > before[name] + 1}
        if attack.is_refused
        else {}
    )
    held = place.held()
    table.append(
        {
            "attack": attack.name,
            "what": attack.what,
            "answered": {str(status): count for status, count in sorted(Counter(answered).items())},
            "bystander": {str(status): count for status, count in sorted(place.bystander.statuses.items())},
            "quiet": place.quiet,
            **loud,
            "p50_ratio": round(loud["p50_ms"] / place.quiet["p50_ms"], 1),
            "p99_ratio": round(loud["p99_ms"] / place.quiet["p99_ms"], 1),
            "left": {**left, **({"held": held} if held else {})},
        }
    )
    assert set(answered) <= attack.may_get, answered
    assert set(place.bystander.statuses) <= {200}
    assert served == 200
    assert left == {}
    assert held == 0


async def _try(place: Place, attack: Attack) -> tuple[list[int], dict[str, float]]:
    """What the attack was answered, and the bystander's latencies meanwhile."""
    bystander = place.bystander
    if not place.quiet:
        bystander.forget()
        async with bystander.calling():
            await asyncio.sleep(QUIET_SECONDS)
        place.quiet = bystander.figures()
    bystander.forget()
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        attacker = Attacker(session, place.stack.base_url, place.enemy.key, place.model, place.claude, SIZE)
        async with bystander.calling():
            answered = await attack.send(attacker)
    return answered, bystander.figures()


async def _served(place: Place) -> int:
    """Whether the bystander is served afterwards."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)) as session:
        return await place.bystander.call(session)
