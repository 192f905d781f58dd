"""The windows of all processes, a lease at a time: a busy process asks Redis for many calls at once.

Invariant: as of `counting`, and of `leases`. A lease is of all scopes of its calls together: it counts in each or in none.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from tenants.limits.counting import Change, Counted, LimitScope, RedisWindows, Refused, Usage
from tenants.limits.leases import Lease, Owed, is_large, places_of

MOST_LEASES: Final = 10_000  # from here on those are forgotten that owe nothing

Scopes = tuple[LimitScope, ...]


class LeasingWindows:
    """Like `RedisWindows`; most calls of a busy process ask nobody."""

    def __init__(
        self, shared: Callable[[], RedisWindows], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared, self._clock = shared, clock
        self._leases: dict[Scopes, tuple[Lease, Counted | None]] = {}

    async def acquire(self, scopes: Scopes, *, slot_id: str, tokens: int) -> Counted | Refused:
        """Count a call, in the lease or in Redis. It holds the slot that is returned."""
        limits = [scope.limits for scope in scopes]
        if not is_large(limits):
            return await self._shared().acquire(scopes, slot_id=slot_id, tokens=tokens)
        lease, granted = self._lease_of(scopes)
        place = lease.hand_out(tokens)
        if place and granted is not None:
            return Counted(granted.slice, granted.reset_seconds, _usages(granted, lease), place)
        more = lease.worth(limits, tokens=tokens)
        lease.is_asked_for |= more > 0
        try:
            result = await self._shared().acquire(
                scopes, slot_id=slot_id, tokens=tokens, more=more, more_tokens=more * tokens
            )
        except BaseException:
            if more:  # they may be counted
                lease.owe(places_of(slot_id, more))
            raise
        finally:
            lease.is_asked_for &= not more
        if isinstance(result, Counted) and result.places:
            lease.fill(result.places, tokens=more * tokens, slice=result.slice)
            self._leases[scopes] = lease, result
            return Counted(result.slice, result.reset_seconds, _usages(result, lease), slot_id)
        return result

    async def settle(self, scopes: Scopes, change: Change) -> None:
        """Make the change at the end of a call: at once, or with those of other calls of a lease."""
        if ":" not in change.slot_id:
            await self._shared().settle(scopes, change)
            return
        lease, _ = self._lease_of(scopes)
        lease.owe([change.slot_id], slice=change.slice, requests=change.requests, tokens=change.tokens)

    async def renew(self, slots: dict[str, list[str]]) -> None:
        """As of `RedisWindows`."""
        await self._shared().renew(slots)

    def _lease_of(self, scopes: Scopes) -> tuple[Lease, Counted | None]:
        found = self._leases.get(scopes)
        if found is None:
            if len(self._leases) >= MOST_LEASES:
                self._leases = {key: one for key, one in self._leases.items() if not one[0].is_settled}
            found = self._leases[scopes] = Lease(partial(self._give_back, scopes), self._clock), None
        return found

    async def _give_back(self, scopes: Scopes, places: list[str], owed: Owed) -> None:
        change = Change(owed.slice, tokens=owed.tokens, requests=owed.requests)
        await self._shared().settle(scopes, change, slot_ids=places)


def _usages(granted: Counted, lease: Lease) -> tuple[Usage, ...]:
    """What is used of each scope, without what is left of the lease."""
    left, tokens = len(lease.places), lease.tokens
    return tuple(
        Usage(usage.requests - left, usage.tokens - tokens, usage.concurrency - left)
        for usage in granted.usages
    )
