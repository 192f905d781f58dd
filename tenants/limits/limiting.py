"""The rate limits of a tenant, a key and an end user: requests and tokens per minute, and concurrent calls.

Invariant: a call is counted in all of its scopes or in none, in a lease or in one round trip to Redis. Money is never
counted here. When Redis does not answer, each process counts for itself and checks in the background when Redis is
back. No request waits for it twice.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Literal, TypeVar

import structlog
import uuid_utils
from redis.exceptions import RedisError

from config import resources
from config.values import value_type
from tenants.errors import Api, RateLimitExceeded
from tenants.limits.counting import (
    SLOT_SECONDS,
    Change,
    Counted,
    LimitScope,
    ProcessWindows,
    RedisWindows,
    Refused,
    slots_key,
)
from tenants.limits.leasing import LeasingWindows
from tenants.policy import RateLimits
from tenants.principal import Principal

ANSWER_SECONDS = 0.25
PROBE_SECONDS = 0.5
_UNITS = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "concurrency": "calls at one time",
}

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@value_type
class LimitStatus:
    """The status of the tightest limit of one meter over all scopes, for the rate-limit headers."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(slots=True)
class Slot:
    """A call that was admitted. Pass it to `release` when the call ends, or to `take_back` when it was refused later.

    Both are idempotent.
    """

    id: str
    scopes: tuple[LimitScope, ...]
    tokens: int
    slice: int
    is_shared: bool
    requests_left: LimitStatus | None = None
    tokens_left: LimitStatus | None = None
    is_released: bool = field(default=False, compare=False)

    def headers(self, style: Api = Api.OPENAI) -> dict[str, str]:
        """The rate-limit headers of the API that was called; empty when nothing is limited."""
        return rate_limit_headers(self.requests_left, self.tokens_left, style=style)


class Limiter:
    """The limiter of one process. Use the module's `acquire`, `true_up`, `release`; tests make their own."""

    def __init__(self) -> None:
        self._local = ProcessWindows()
        self._shared = LeasingWindows(_redis_windows)
        self.is_redis_away = False
        self._probe: asyncio.Task[None] | None = None  # kept, because the loop holds tasks only weakly
        self._open: dict[str, Slot] = {}

    async def acquire(
        self, principal: Principal, *, tokens: int, user: str = "", style: Api = Api.OPENAI
    ) -> Slot:
        """Count a call of `tokens` (an estimate; see `true_up`) or raise RateLimitExceeded with headers of that style.

        No I/O when nothing is limited, or within a lease; otherwise one round trip.
        """
        scopes = scopes_of(principal, user=user)
        slot_id = uuid_utils.uuid7().hex
        if not scopes:
            return Slot(id=slot_id, scopes=(), tokens=tokens, slice=0, is_shared=False)
        result, is_shared = await self._count(scopes, slot_id=slot_id, tokens=tokens)
        if isinstance(result, Refused):
            raise refusal(result, scopes[result.index], tokens=tokens, style=style)
        slot = Slot(
            id=result.slot_id,
            scopes=scopes,
            tokens=tokens,
            slice=result.slice,
            is_shared=is_shared,
            requests_left=_tightest(scopes, result, "requests"),
            tokens_left=_tightest(scopes, result, "tokens"),
        )
        if is_shared and any(scope.limits.concurrency is not None for scope in scopes):
            self._open[slot.id] = slot
        return slot

    async def true_up(self, slot: Slot, *, tokens: int) -> None:
        """Replace the estimate by the actual tokens of the call. Never raises when Redis is away."""
        if slot.scopes and tokens != slot.tokens:
            await self._settle(slot, tokens=tokens)

    async def release(self, slot: Slot, *, tokens: int | None = None) -> None:
        """End the call: free its concurrency slots and, with `tokens`, replace the estimate.

        One round trip. Idempotent. Never raises when Redis is away.
        """
        if slot.is_released:
            return
        slot.is_released = True
        self._open.pop(slot.id, None)
        tokens = slot.tokens if tokens is None else tokens
        holds_slots = any(scope.limits.concurrency is not None for scope in slot.scopes)
        if holds_slots or (slot.scopes and tokens != slot.tokens):
            await self._settle(slot, tokens=tokens, slot_id=slot.id)

    async def take_back(self, slot: Slot) -> None:
        """End a call that was refused later: it counts in no window, as if it had never been admitted."""
        if slot.is_released:
            return
        slot.is_released = True
        self._open.pop(slot.id, None)
        if slot.scopes:
            await self._settle(slot, tokens=0, slot_id=slot.id, more_requests=-1)

    async def _settle(self, slot: Slot, *, tokens: int, slot_id: str = "", more_requests: int = 0) -> None:
        more, slot.tokens = tokens - slot.tokens, tokens
        change = Change(slot.slice, tokens=more, requests=more_requests, slot_id=slot_id)
        if slot.is_shared:
            await self._try(lambda shared: shared.settle(slot.scopes, change))
        else:
            self._local.settle(slot.scopes, change)

    async def keep_slots(self) -> None:
        """Renew the slots of running calls, until cancelled. Slots of a dead process expire."""
        while True:
            await asyncio.sleep(SLOT_SECONDS / 3)
            await self.renew_slots()

    async def renew_slots(self) -> None:
        """Renew the open slots once, a round trip per tenant."""
        by_tenant: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for slot in list(self._open.values()):
            for scope in slot.scopes:
                if scope.limits.concurrency is not None:
                    by_tenant[slot.scopes[0].key.partition("}")[0]][slots_key(scope)].append(slot.id)
        for slots in by_tenant.values():
            await self._try(partial(_renew, slots))

    async def _count(
        self, scopes: tuple[LimitScope, ...], *, slot_id: str, tokens: int
    ) -> tuple[Counted | Refused, bool]:
        result = await self._try(lambda shared: shared.acquire(scopes, slot_id=slot_id, tokens=tokens))
        if result is not None:
            return result, True
        return self._local.acquire(scopes, slot_id=slot_id, tokens=tokens), False

    async def _try(self, operation: Callable[[LeasingWindows], Awaitable[Result]]) -> Result | None:
        """The operation's result; None immediately while Redis is away."""
        if self.is_redis_away:
            return None
        try:
            return await operation(self._shared)
        except RedisError as error:
            self._lose_redis(error)
            return None

    def _lose_redis(self, error: Exception) -> None:
        if self.is_redis_away:
            return
        self.is_redis_away = True
        log.warning("rate_limits_per_process", error=str(error) or type(error).__name__)
        self._probe = asyncio.create_task(self._wait_for_redis())

    async def _wait_for_redis(self) -> None:
        try:
            while True:
                await asyncio.sleep(PROBE_SECONDS)
                try:
                    await resources.redis_link.ping(timeout_seconds=ANSWER_SECONDS)
                except RedisError:
                    continue
                log.info("rate_limits_shared_again")
                return
        finally:
            self.is_redis_away = False


async def _renew(slots: dict[str, list[str]], shared: LeasingWindows) -> None:
    await shared.renew(slots)


def _redis_windows() -> RedisWindows:
    return RedisWindows(resources.redis_link, timeout_seconds=ANSWER_SECONDS)


limiter = Limiter()
acquire = limiter.acquire
true_up = limiter.true_up
release = limiter.release
take_back = limiter.take_back
resources.service(limiter.keep_slots)


def scopes_of(principal: Principal, *, user: str) -> tuple[LimitScope, ...]:
    """The scopes that a call counts for.

    Their keys begin with one hash tag, so that Redis Cluster keeps them together. The name of an end user comes from
    the client: it is at the end of the key, and its length is limited.
    """
    tag = f"{{{principal.tenant_id}}}"
    user_key = user if len(user) <= 64 else sha256(user.encode()).hexdigest()
    candidates = (
        LimitScope("tenant", f"tenant {principal.tenant_slug}", tag, principal.tenant_limits),
        LimitScope("key", f"key {principal.key_name}", f"{tag}:key:{principal.key_id}", principal.key_limits),
        LimitScope(
            "user", f"user {user}", f"{tag}:user:{user_key}", principal.user_limits if user else RateLimits()
        ),
    )
    return tuple(scope for scope in candidates if scope.limits)


def refusal(refused: Refused, scope: LimitScope, *, tokens: int, style: Api) -> RateLimitExceeded:
    """The error for a refused call: which limit, whose, and until when."""
    limits = {
        "requests": scope.limits.rpm,
        "tokens": scope.limits.tpm,
        "concurrency": scope.limits.concurrency,
    }
    limit = limits[refused.meter] or 0
    whose = f"The limit of {scope.name} is {limit:,} {_UNITS[refused.meter]}"
    facts = {
        "limit_of": scope.name,
        "meter": refused.meter,
        "limit": limit,
        "used": round(refused.used, 2),
        "asked": tokens if refused.meter == "tokens" else 1,
    }
    if refused.wait_seconds < 0:
        return RateLimitExceeded(
            f"{whose}; this call alone needs {tokens:,} tokens.",
            recurs=True,
            facts=facts,
        )
    retry_after_seconds = max(1, math.ceil(refused.wait_seconds))
    status = LimitStatus(limit, max(0, int(limit - refused.used)), refused.wait_seconds)
    requests = status if refused.meter == "requests" else None
    spent = status if refused.meter == "tokens" else None
    return RateLimitExceeded(
        f"{whose}; {math.ceil(refused.used):,} are used. Try again in {retry_after_seconds} s.",
        retry_after_seconds=retry_after_seconds,
        headers=rate_limit_headers(requests, spent, style=style),
        facts=facts,
    )


def rate_limit_headers(
    requests: LimitStatus | None, tokens: LimitStatus | None, *, style: Api
) -> dict[str, str]:
    """The rate-limit headers that the SDKs of this API read."""
    headers: dict[str, str] = {}
    for meter, status in (("requests", requests), ("tokens", tokens)):
        if status is None:
            continue
        if style == Api.ANTHROPIC:
            resets_at = datetime.now(UTC) + timedelta(seconds=status.reset_seconds)
            headers[f"anthropic-ratelimit-{meter}-limit"] = str(status.limit)
            headers[f"anthropic-ratelimit-{meter}-remaining"] = str(status.remaining)
            headers[f"anthropic-ratelimit-{meter}-reset"] = f"{resets_at:%Y-%m-%dT%H:%M:%SZ}"
        else:
            headers[f"x-ratelimit-limit-{meter}"] = str(status.limit)
            headers[f"x-ratelimit-remaining-{meter}"] = str(status.remaining)
            headers[f"x-ratelimit-reset-{meter}"] = f"{status.reset_seconds:.3f}s"
    return headers


def _tightest(
    scopes: tuple[LimitScope, ...], counted: Counted, meter: Literal["requests", "tokens"]
) -> LimitStatus | None:
    statuses = []
    for scope, usage in zip(scopes, counted.usages, strict=True):
        limit = scope.limits.rpm if meter == "requests" else scope.limits.tpm
        used = usage.requests if meter == "requests" else usage.tokens
        if limit is not None:
            statuses.append(LimitStatus(limit, max(0, int(limit - used)), counted.reset_seconds))
    return min(statuses, key=lambda status: status.remaining / status.limit, default=None)
