"""Shares of limits that this process takes in advance, for a fraction of a second: its calls ask nobody meanwhile.

Invariant: what is handed out was taken before, and what is not handed out goes back when the lease ends. Only limits that
are large against what this process sends are leased, and whoever grants a lease does so only while there is plenty.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from redis.exceptions import RedisError

from config import resources

LEASE_SECONDS: Final = 0.2
LEAST_CALLS: Final = 4  # for fewer it is not worth it
MOST_CALLS: Final = 100  # it takes Redis a quarter of a millisecond
LEAST_SHARES: Final = 200  # no lease is larger than this part of a minute's requests and tokens,
LEAST_PARTS: Final = 20  # or than this part of the calls at one time
MOST_OWED: Final = 10_000  # places that are given back when Redis answers again


class Limited(Protocol):
    """Requests and tokens per minute, and calls at one time; nothing: no limit."""

    @property
    def rpm(self) -> int | None: ...
    @property
    def tpm(self) -> int | None: ...
    @property
    def concurrency(self) -> int | None: ...


class Owed(NamedTuple):
    """What is more (or, negative, less) than was taken in a slice of time."""

    slice: int
    requests: int
    tokens: int


def places_of(call: str, count: int) -> list[str]:
    """The places that a call took for calls to come, by the name of its own."""
    return [f"{call}:{n}" for n in range(1, count + 1)]


def is_large(limits: Iterable[Limited]) -> bool:
    """Whether these limits are ever leased."""
    return all(_largest(limited) >= LEAST_CALLS for limited in limits)


GiveBack = Callable[[list[str], Owed], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Lease:
    """What this process has of some limits, and what it owes them; `give_back` says so to whoever keeps them."""

    give_back: GiveBack
    clock: Callable[[], float] = time.monotonic
    places: list[str] = field(default_factory=list)  # of calls to come
    tokens: int = 0
    slice: int = 0
    ends: float = 0.0
    is_asked_for: bool = False  # by one call; the others ask for themselves meanwhile
    _free: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_OWED))
    _owed: dict[int, Owed] = field(default_factory=dict)
    _period: float = 0.0
    _calls: int = 0  # in this period
    _calls_before: int = 0
    _is_reporting: bool = False

    def hand_out(self, tokens: int) -> str:
        """The place of a call; empty if none is left for it."""
        now = self.clock()
        self._count(now)
        if not self.places or now >= self.ends or tokens > self.tokens:
            return ""
        self.tokens -= tokens
        return self.places.pop()

    def worth(self, limits: Sequence[Limited], *, tokens: int) -> int:
        """For how many calls to come, each as large as this one, to take a share now."""
        if self.is_asked_for:
            return 0
        most = max(self._calls, self._calls_before)
        most = min(MOST_CALLS, most, *(_largest(limited, tokens=max(1, tokens)) for limited in limits))
        return most if most >= LEAST_CALLS else 0

    def fill(self, places: list[str], *, tokens: int, slice: int = 0) -> None:
        """A lease was granted; what is left of the one before is owed."""
        self.end()
        self.places, self.tokens, self.slice = places, tokens, slice
        self.ends = self.clock() + LEASE_SECONDS
        self._report_soon()

    def end(self) -> None:
        """What was not handed out is owed."""
        if self.places or self.tokens:
            self.owe(self.places, slice=self.slice, requests=-len(self.places), tokens=-self.tokens)
        self.places, self.tokens, self.ends = [], 0, 0.0

    def owe(self, places: list[str], *, slice: int = 0, requests: int = 0, tokens: int = 0) -> None:
        """These places are free again, and so much more (or, negative, less) than was taken was used."""
        self._free.extend(places)
        if requests or tokens:
            before = self._owed.get(slice, Owed(slice, 0, 0))
            self._owed[slice] = Owed(slice, before.requests + requests, before.tokens + tokens)
        self._report_soon()

    @property
    def is_settled(self) -> bool:
        return not (self.places or self.tokens or self._free or self._owed)

    def _count(self, now: float) -> None:
        passed = now - self._period
        if passed >= LEASE_SECONDS:
            self._calls_before = self._calls if passed < 2 * LEASE_SECONDS else 0
            self._period, self._calls = now, 0
        self._calls += 1

    def _report_soon(self) -> None:
        if not self._is_reporting:
            self._is_reporting = True
            resources.background(self._report())

    async def _report(self) -> None:
        """Give back what is owed, once per lease, until there is nothing."""
        try:
            while not self.is_settled:
                await asyncio.sleep(LEASE_SECONDS)
                if self.clock() >= self.ends:
                    self.end()
                await self._give_back()
        finally:
            self._is_reporting = False

    async def _give_back(self) -> None:
        owed, self._owed = list(self._owed.values()), {}
        while owed or self._free:
            places = [self._free.popleft() for _ in range(min(MOST_CALLS, len(self._free)))]
            try:
                await self.give_back(places, owed.pop() if owed else Owed(self.slice, 0, 0))
            except RedisError:  # it may be done: what a minute allows heals by itself, a place does not
                self._free.extend(places)
                return


def _largest(limited: Limited, *, tokens: int = 1) -> int:
    """The most calls of so many tokens that a lease of these limits may be for."""
    most = MOST_CALLS
    if limited.rpm:
        most = min(most, limited.rpm // LEAST_SHARES)
    if limited.tpm:
        most = min(most, limited.tpm // LEAST_SHARES // tokens)
    if limited.concurrency:
        most = min(most, limited.concurrency // LEAST_PARTS)
    return most
