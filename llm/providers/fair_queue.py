"""A fair queue in front of an account, in this process: one queue per tenant, served by what each has had.

Invariant: start-time fair queueing. What a tenant's calls take of the account moves its own next call back and no
other one's, so a tenant with a thousand calls delays another one's first by a single call. Both a tenant's queue and all of
them together are bounded; where all are full the longest one gives way.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

MOST_WAITING_OF_ONE: Final = 1_000
MOST_WAITING: Final = 4_000
FORGET_FROM: Final = 100  # tenants that have had something and wait for nothing


class QueueFull(Exception):
    """More calls wait than is any use."""


@dataclass(slots=True)
class FairQueue:
    """One account's. At most one call at a time has the turn."""

    most_of_one: int = MOST_WAITING_OF_ONE
    most: int = MOST_WAITING
    _is_taken: bool = False
    _waiting: "dict[int, dict[int, asyncio.Future[None]]]" = field(default_factory=dict)
    _size: int = 0
    _numbers: "count[int]" = field(default_factory=count)
    _now: float = 0.0  # in what was served, not in seconds
    _served_until: dict[int, float] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        """Whether any call has the turn, or waits for it."""
        return self._is_taken or self._size > 0

    @asynccontextmanager
    async def turn(self, tenant_id: int) -> AsyncIterator[None]:
        """Wait for the turn of a tenant's call; the next one has it afterwards. Raises QueueFull."""
        await self._enter(tenant_id)
        try:
            yield
        finally:
            self._pass_on()

    def served(self, tenant_id: int, *, cost: float) -> None:
        """The call that has the turn got so much of the account."""
        self._now = self._start_of(tenant_id)
        self._served_until[tenant_id] = self._now + cost
        if len(self._served_until) > FORGET_FROM + len(self._waiting):
            self._served_until = {
                tenant: until for tenant, until in self._served_until.items() if until > self._now
            }

    def took_back(self, tenant_id: int, *, cost: float) -> None:
        """What a call got was not used."""
        if tenant_id in self._served_until:
            self._served_until[tenant_id] -= cost

    async def _enter(self, tenant_id: int) -> None:
        if not self.is_busy:
            self._is_taken = True
            return
        self._make_room(tenant_id)
        number, turn = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, {})[number] = turn
        self._size += 1
        try:
            await turn
        except BaseException:
            self._forget(tenant_id, number)
            # it came at the same moment
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()
            raise

    def _make_room(self, tenant_id: int) -> None:
        if len(self._waiting.get(tenant_id, ())) >= self.most_of_one:
            raise QueueFull
        if self._size < self.most:
            return
        longest = max(self._waiting, key=lambda tenant: len(self._waiting[tenant]))
        if len(self._waiting[longest]) <= len(self._waiting.get(tenant_id, ())) + 1:
            raise QueueFull
        number = next(reversed(self._waiting[longest]))
        turn = self._waiting[longest][number]
        self._forget(longest, number)
        if not turn.done():
            turn.set_exception(QueueFull())

    def _pass_on(self) -> None:
        self._is_taken = False
        while self._size:
            tenant_id = min(
                self._waiting, key=lambda one: (self._start_of(one), next(iter(self._waiting[one])))
            )
            number, turn = next(iter(self._waiting[tenant_id].items()))
            self._forget(tenant_id, number)
            if not turn.done():  # else it was cancelled just now
                self._is_taken = True
                turn.set_result(None)
                return
        self._now = 0.0
        self._served_until.clear()

    def _forget(self, tenant_id: int, number: int) -> None:
        queue = self._waiting.get(tenant_id)
        if queue is None or queue.pop(number, None) is None:
            return  # it waits no more
        self._size -= 1
        if not queue:
            del self._waiting[tenant_id]

    def _start_of(self, tenant_id: int) -> float:
        return max(self._now, self._served_until.get(tenant_id, 0.0))
