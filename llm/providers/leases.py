"""The accounts of providers, a lease at a time: a busy process asks Redis for many calls at once.

Invariant: as of `account_limits`, and of `tenants.limits.leases`. Where calls wait or little is left, no lease is granted:
every call asks for itself, and its turn is kept.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from llm.providers.account_limits import Limits, RedisKeeper
from tenants.limits.leases import Lease, Owed, places_of

MOST_ACCOUNTS: Final = 1_000  # from here on those are forgotten that are owed nothing


class LeasingKeeper:
    """A `Keeper` of all processes' accounts."""

    def __init__(
        self, shared: Callable[[], RedisKeeper], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared, self._clock = shared, clock
        self._leases: dict[tuple[str, Limits], Lease] = {}
        self._handed_out: dict[str, str] = {}  # the places of calls under way

    async def take(
        self,
        account: str,
        limits: Limits,
        *,
        place: str,
        tokens: int,
        tenant_id: int = 0,
        waits: bool = False,
    ) -> float:
        """As `Keeper` has it."""
        lease = self._lease_of(account, limits)
        if leased := lease.hand_out(tokens):
            self._handed_out[place] = leased
            return 0.0
        more = lease.worth((limits,), tokens=tokens)
        lease.is_asked_for |= more > 0
        try:
            wait, places = await self._shared().take_more(
                account,
                limits,
                place=place,
                tokens=tokens,
                tenant_id=tenant_id,
                waits=waits,
                more=more,
                more_tokens=more * tokens,
            )
        except BaseException:
            if more:  # they may be taken
                lease.owe(places_of(place, more))
            raise
        finally:
            lease.is_asked_for &= not more
        if places:
            lease.fill(places, tokens=more * tokens)
        return wait

    async def give_back(
        self, account: str, limits: Limits, *, place: str, tokens: int, requests: int = 0, tenant_id: int = 0
    ) -> None:
        """As `Keeper` has it."""
        leased = self._handed_out.pop(place, None)
        if leased is not None:
            self._lease_of(account, limits).owe([leased], requests=requests, tokens=tokens)
            return
        await self._shared().give_back(
            account, limits, place=place, tokens=tokens, requests=requests, tenant_id=tenant_id
        )

    async def pause(self, account: str, *, seconds: float) -> None:
        """As `Keeper` has it."""
        for (name, _), lease in self._leases.items():
            if name == account:
                lease.end()
        await self._shared().pause(account, seconds=seconds)

    def _lease_of(self, account: str, limits: Limits) -> Lease:
        lease = self._leases.get((account, limits))
        if lease is None:
            if len(self._leases) >= MOST_ACCOUNTS:
                self._leases = {key: one for key, one in self._leases.items() if not one.is_settled}
            give_back = partial(self._give_back, account, limits)
            lease = self._leases[account, limits] = Lease(give_back, self._clock)
        return lease

    async def _give_back(self, account: str, limits: Limits, places: list[str], owed: Owed) -> None:
        await self._shared().give_back_many(
            account, limits, places=places, requests=owed.requests, tokens=owed.tokens
        )
