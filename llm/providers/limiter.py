"""A queue in front of each provider account, so that bursts wait their turn instead of failing.

Invariant: what goes out stays within the account's limits, for all processes together while Redis answers,
per process while it does not; a caller waits in turn and at most as long as it is ready to.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import structlog
from prometheus_client import Gauge, Histogram
from redis.exceptions import RedisError

from config import resources
from llm.catalog import Target
from llm.providers.allowance import Keeper, Limits, ProcessKeeper, RedisKeeper
from llm.providers.outcomes import ProviderUnavailable

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.05
ANSWER_SECONDS = 0.25
REDIS_AWAY_SECONDS = 2.0

RUNNING = Gauge(
    "purser_provider_calls_in_flight",
    "Calls under way at an account",
    ["provider"],
    multiprocess_mode="livesum",
)
WAITED = Histogram(
    "purser_provider_wait_seconds",
    "How long calls waited for their turn at an account with limits",
    ["provider"],
    buckets=(0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ProviderSlot:
    """A call's place at its provider. Hand it to `release` when the call is over; twice does no harm."""

    account: str
    limits: Limits
    lease: str
    tokens: int
    waited_seconds: float
    is_released: bool = False


class ProviderLimiter:
    """The queues of one process. Use the module's `limiter`; tests make their own."""

    def __init__(self, *, shared: Callable[[], Keeper] | None = None) -> None:
        self._local = ProcessKeeper()
        self._shared_of = shared or _redis_keeper
        self._away_until = 0.0
        self._queues: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._freed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._last_waits: dict[str, float] = {}

    async def try_acquire(self, target: Target, *, tokens: int) -> ProviderSlot | float:
        """A call's turn if it has come, without waiting; else about how many seconds it would wait."""
        slot = _slot_for(target, tokens)
        if not slot.limits:
            return _taken(slot)
        if self._queues[slot.account].locked():  # others wait already, and are not overtaken
            return self._last_waits.get(slot.account, POLL_SECONDS)
        async with self._queues[slot.account]:
            wait = await self._take(slot)
        return max(POLL_SECONDS, wait) if wait else _taken(slot)

    async def acquire(
        self, target: Target, *, tokens: int, patience_seconds: float = PATIENCE_SECONDS
    ) -> ProviderSlot:
        """Wait for a call's turn, or raise ProviderUnavailable when it does not come in time.

        No I/O when the account has no limits. `tokens` is an estimate; `release` corrects it.
        """
        slot = _slot_for(target, tokens)
        if not slot.limits:
            return _taken(slot)
        began = time.monotonic()
        wait = 0.0
        try:
            async with asyncio.timeout(patience_seconds), self._queues[slot.account]:
                while wait := await self._take(slot):
                    self._last_waits[slot.account] = max(POLL_SECONDS, wait)
                    if wait > patience_seconds - (time.monotonic() - began):
                        raise TimeoutError
                    await self._until(slot.account, wait)
        except TimeoutError:
            raise ProviderUnavailable(
                f"{target.provider} is at the limits of its account; the wait is too long.",
                retryable=False,
                retry_after=max(1.0, wait),
                sent=False,
                facts={"provider": target.provider, "account_limits": str(slot.limits)},
            ) from None
        slot.waited_seconds = time.monotonic() - began
        WAITED.labels(target.provider).observe(slot.waited_seconds)
        return _taken(slot)

    async def release(self, slot: ProviderSlot, *, tokens: int | None = None) -> None:
        """End a call that took `tokens` in all. Never raises for want of Redis."""
        if slot.is_released:
            return
        slot.is_released = True
        RUNNING.labels(slot.account).dec()
        if not slot.limits:
            return
        more = 0 if tokens is None else tokens - slot.tokens
        await self._both(
            lambda keeper: keeper.give_back(slot.account, slot.limits, lease=slot.lease, tokens=more)
        )
        self._freed[slot.account].set()

    async def pause(self, target: Target, *, seconds: float) -> None:
        """The provider limits us and says until when: nobody goes before that."""
        if Limits.of(target.limits):
            await self._both(lambda keeper: keeper.pause(target.provider, seconds=seconds))

    async def _take(self, slot: ProviderSlot) -> float:
        if time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._take_from(self._shared_of(), slot)
            except (RedisError, OSError, TimeoutError) as error:
                self._lose_redis(error)
        return await self._take_from(self._local, slot)

    @staticmethod
    async def _take_from(keeper: Keeper, slot: ProviderSlot) -> float:
        return await keeper.take(slot.account, slot.limits, lease=slot.lease, tokens=slot.tokens)

    async def _both(self, operation: Callable[[Keeper], Awaitable[None]]) -> None:
        """Tell both keepers: a slot may have been taken from either."""
        await operation(self._local)
        if time.monotonic() < self._away_until:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await operation(self._shared_of())
        except (RedisError, OSError, TimeoutError) as error:
            self._lose_redis(error)

    async def _until(self, account: str, wait: float) -> None:
        """Sleep for a known time; for an unknown one until a call of ours ends, and a moment for others'."""
        if wait > 0:
            await asyncio.sleep(wait)
            return
        freed = self._freed[account]
        freed.clear()
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await freed.wait()
        except TimeoutError:
            pass

    def _lose_redis(self, error: Exception) -> None:
        self._away_until = time.monotonic() + REDIS_AWAY_SECONDS
        log.warning("provider_limits_per_process", error=str(error) or type(error).__name__)


def _taken(slot: ProviderSlot) -> ProviderSlot:
    RUNNING.labels(slot.account).inc()
    return slot


def _slot_for(target: Target, tokens: int) -> ProviderSlot:
    limits = Limits.of(target.limits, longest_call_seconds=float(target.timeouts.get("total") or 0))
    return ProviderSlot(target.provider, limits, uuid4().hex, tokens, 0.0)


_keeper: tuple[object, RedisKeeper] | None = None


def _redis_keeper() -> RedisKeeper:
    global _keeper
    if _keeper is None or _keeper[0] is not resources.redis:
        _keeper = (resources.redis, RedisKeeper(resources.redis))
    return _keeper[1]


limiter = ProviderLimiter()
