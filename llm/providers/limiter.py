"""A queue in front of each provider account, so that bursts wait their turn instead of failing.

Invariant: what goes out stays within the account's limits, for all processes together while Redis answers,
per process while it does not; a caller waits at most as long as it is ready to, and for its own tenant's calls, not for
others': the tenant goes first that has had the least. A call takes no more than
the model can use and the account has in a minute, and one that never reached the provider takes nothing.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import uuid_utils
from prometheus_client import Gauge, Histogram
from redis.exceptions import RedisError

from config import resources
from config.values import value_type
from llm.providers.account_limits import UNKNOWN_WAIT, Keeper, Limits, ProcessKeeper, RedisKeeper
from llm.providers.errors import ProviderUnavailable
from llm.providers.fair_queue import FairQueue, QueueFull
from llm.providers.leases import LeasingKeeper
from llm.providers.target import Target

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.05
LONGEST_SLEEP_SECONDS = 1.0  # a ticket is asked for again before it is forgotten
ANSWER_SECONDS = 0.25
REDIS_AWAY_SECONDS = 2.0
MOST_UNREPORTED = 10_000  # ends of calls that are reported to Redis when it is back

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
    """A call's place at its provider. Hand it to `release` when the call is over, or to `take_back` when it never was
    sent; a second time does no harm."""

    account: str
    limits: Limits
    place: str
    tokens: int
    tenant_id: int
    waited_seconds: float = 0.0
    is_in_doubt: bool = False  # Redis may keep something of it: a ticket, or a place whose answer got lost
    is_released: bool = False


@value_type
class _End:
    """The end of a call, as it is reported to a keeper."""

    slot: ProviderSlot
    tokens: int
    requests: int

    async def report_to(self, keeper: Keeper) -> None:
        slot = self.slot
        await keeper.give_back(
            slot.account,
            slot.limits,
            place=slot.place,
            tokens=self.tokens,
            requests=self.requests,
            tenant_id=slot.tenant_id,
        )


class ProviderLimiter:
    """The queues of one process. Use the module's `limiter`; tests make their own."""

    def __init__(self, *, shared: Callable[[], Keeper] | None = None) -> None:
        self._local = ProcessKeeper()
        leasing = LeasingKeeper(_redis_keeper)
        self._shared_of = shared or (lambda: leasing)
        self._away_until = 0.0
        self._queues: defaultdict[str, FairQueue] = defaultdict(FairQueue)
        self._freed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._last_waits: dict[str, float] = {}
        self._unreported: deque[_End] = deque(maxlen=MOST_UNREPORTED)

    async def try_acquire(self, target: Target, *, tokens: int, tenant_id: int) -> ProviderSlot | float:
        """A call's turn if it has come, without waiting; else about how many seconds it would wait."""
        slot = _slot_for(target, tokens, tenant_id)
        if not slot.limits:
            return _taken(slot)
        if self._queues[slot.account].is_busy:  # others wait already, and are not overtaken
            return self._last_waits.get(slot.account, POLL_SECONDS)
        wait = UNKNOWN_WAIT
        try:
            async with self._queues[slot.account].turn(tenant_id):
                wait = await self._take(slot, waits=False)
        finally:
            if wait and slot.is_in_doubt:
                resources.background(self._undo(slot))
        return max(POLL_SECONDS, wait) if wait else _taken(slot)

    async def acquire(
        self, target: Target, *, tokens: int, tenant_id: int, patience_seconds: float = PATIENCE_SECONDS
    ) -> ProviderSlot:
        """Wait for a call's turn, or raise ProviderUnavailable when it does not come in time.

        No I/O when the account has no limits. `tokens` is an estimate; `release` corrects it.
        """
        slot = _slot_for(target, tokens, tenant_id)
        if not slot.limits:
            return _taken(slot)
        queue = self._queues[slot.account]
        began = time.monotonic()
        wait = 0.0
        is_taken = False
        try:
            async with asyncio.timeout(patience_seconds), queue.turn(tenant_id):
                while wait := await self._take(slot, waits=True):
                    self._last_waits[slot.account] = max(POLL_SECONDS, wait)
                    if wait > patience_seconds - (time.monotonic() - began):
                        raise TimeoutError
                    await self._until(slot.account, wait)
                is_taken = True
                queue.served(tenant_id, cost=slot.limits.share_of(slot.tokens))
        except (TimeoutError, QueueFull) as full:
            why = "too many calls wait" if isinstance(full, QueueFull) else "the wait is too long"
            raise ProviderUnavailable(
                f"{target.provider} is at the limits of its account; {why}.",
                retryable=False,
                retry_after=max(1.0, wait),
                sent=False,
                facts={"provider": target.provider, "account_limits": str(slot.limits)},
            ) from None
        finally:
            if not is_taken and slot.is_in_doubt:
                resources.background(self._undo(slot))
        slot.waited_seconds = time.monotonic() - began
        WAITED.labels(target.provider).observe(slot.waited_seconds)
        return _taken(slot)

    async def release(self, slot: ProviderSlot, *, tokens: int) -> None:
        """End a call that was sent and took `tokens` in all. Never raises for want of Redis."""
        if _is_first_end(slot):
            await self._end(slot, tokens=tokens - slot.tokens)

    async def take_back(self, slot: ProviderSlot) -> None:
        """End a call that never reached the provider: nothing of it is left. Never raises for want of Redis."""
        if _is_first_end(slot):
            self._queues[slot.account].took_back(slot.tenant_id, cost=slot.limits.share_of(slot.tokens))
            await self._undo(slot)

    async def _undo(self, slot: ProviderSlot) -> None:
        await self._end(slot, tokens=-slot.tokens, requests=-1)

    async def _end(self, slot: ProviderSlot, *, tokens: int, requests: int = 0) -> None:
        """Report to both keepers: the slot may have been taken from either."""
        if not slot.limits:
            return
        end = _End(slot, tokens=tokens, requests=requests)
        await end.report_to(self._local)
        await self._report_to_redis(end)
        self._freed[slot.account].set()

    async def _report_to_redis(self, end: "_End") -> None:
        try:
            if time.monotonic() < self._away_until:
                raise TimeoutError
            await end.report_to(self._shared_of())
        except (RedisError, TimeoutError) as error:
            self._unreported.append(end)
            if time.monotonic() >= self._away_until:
                self._lose_redis(error)

    async def _report_again(self) -> None:
        for _ in range(len(self._unreported)):
            if time.monotonic() < self._away_until or not self._unreported:
                return
            await self._report_to_redis(self._unreported.popleft())

    async def pause(self, target: Target, *, seconds: float) -> None:
        """The provider limits us and says until when: no call goes out before that."""
        if Limits.of(target.limits):
            await self._both(lambda keeper: keeper.pause(target.provider, seconds=seconds))

    async def _take(self, slot: ProviderSlot, *, waits: bool) -> float:
        if time.monotonic() >= self._away_until:
            slot.is_in_doubt = True
            try:
                wait = await self._take_from(self._shared_of(), slot, waits=waits)
                slot.is_in_doubt = waits and wait != 0
                if self._unreported:
                    resources.background(self._report_again())
                return wait
            except (RedisError, TimeoutError) as error:
                self._lose_redis(error)
        return await self._take_from(self._local, slot, waits=waits)

    @staticmethod
    async def _take_from(keeper: Keeper, slot: ProviderSlot, *, waits: bool) -> float:
        return await keeper.take(
            slot.account,
            slot.limits,
            place=slot.place,
            tokens=slot.tokens,
            tenant_id=slot.tenant_id,
            waits=waits,
        )

    async def _both(self, operation: Callable[[Keeper], Awaitable[None]]) -> None:
        """Report to both keepers: a slot may have been taken from either."""
        await operation(self._local)
        if time.monotonic() < self._away_until:
            return
        try:
            await operation(self._shared_of())
        except RedisError as error:
            self._lose_redis(error)

    async def _until(self, account: str, wait: float) -> None:
        """Sleep for a known time; for an unknown one until one of our calls ends, and a short time for others'."""
        if wait > 0:
            await asyncio.sleep(min(wait, LONGEST_SLEEP_SECONDS))
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


def _is_first_end(slot: ProviderSlot) -> bool:
    if slot.is_released:
        return False
    slot.is_released = True
    RUNNING.labels(slot.account).dec()
    return True


def _slot_for(target: Target, tokens: int, tenant_id: int) -> ProviderSlot:
    limits = Limits.of(target.limits, longest_call_seconds=float(target.timeouts.get("total") or 0))
    tokens = max(0, min(tokens, limits.tpm or tokens))
    place = uuid_utils.uuid7().hex  # in the order of time, as tickets are among equals
    return ProviderSlot(target.provider, limits, place, tokens, tenant_id)


def _redis_keeper() -> RedisKeeper:
    return RedisKeeper(resources.redis_link, timeout_seconds=ANSWER_SECONDS)


limiter = ProviderLimiter()
