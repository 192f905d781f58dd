"""Chooses the next account: which deployment is asked now, which after it, and why.

Invariant: an account that is given a rest or is at its limits is passed over while another one is free; each account
that failed waits its backoff before it is asked again; a model is tried a bounded number of times in all.
"""

import asyncio
import time
from dataclasses import dataclass, field
from math import inf
from typing import Final

from config.values import value_type
from llm.calls.call import Call
from llm.providers import balancing
from llm.providers.balancing import Candidate
from llm.providers.errors import ProviderFailure, ProviderUnavailable
from llm.providers.health import RESTING, health
from llm.providers.limiter import PATIENCE_SECONDS, ProviderSlot, limiter
from llm.providers.retries import DEFAULT, RetryPolicy, retry_delay, should_retry
from llm.providers.target import Target

AT_LIMITS: Final = "at the limits of its account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a call is put to a model."""

    why: str = "first choice"
    retries: RetryPolicy = DEFAULT
    is_elsewhere: bool = True  # at the other accounts of the model too, and hedged
    patience_seconds: float = PATIENCE_SECONDS  # for its turn at an account


FIRST_CHOICE: Final = Manner()


@value_type
class Hop:
    """The next call to make: its place at the account is taken. the receipt shows `why`."""

    target: Target
    slot: ProviderSlot
    why: str


@dataclass(slots=True)
class _Account:
    target: Target
    tries: int = 0
    not_before: float = 0.0
    why: str = ""


@dataclass(slots=True)
class Accounts:
    """The accounts of one model, for one call. Ask for the `next` hop, and say how it went."""

    call: Call
    why: str  # the model is asked at all
    waiting: list[_Account]
    tries: int = 0
    most_tries: int = DEFAULT.max_attempts
    manner: Manner = FIRST_CHOICE
    failure: ProviderFailure | None = field(default=None)

    @classmethod
    def of(cls, call: Call, target: Target, *, manner: Manner) -> "Accounts":
        """The accounts of a target's model, in the order to ask them."""
        found = order_of(call, target) if manner.is_elsewhere else [Candidate(target)]
        if len(found) > 1:
            call.receipt.note(
                "account",
                found[0].target.provider,
                model=target.model,
                considered=[candidate.to_receipt() for candidate in found],
            )
        return cls(
            call,
            manner.why,
            [_Account(candidate.target) for candidate in found],
            most_tries=max(manner.retries.max_attempts, len(found)),
            manner=manner,
        )

    async def next(self) -> Hop | None:
        """Wait for the next account's turn; None when all were tried enough, `failure` then says how it ended."""
        while self.waiting and self.tries < self.most_tries:
            self._pass_over_the_resting()
            if fresh := [account for account in self.waiting if not account.tries]:
                account, slot = await self._first_free(fresh)
            elif self.waiting:
                account = min(self.waiting, key=lambda one: one.not_before)
                await asyncio.sleep(account.not_before - time.monotonic())
                account, slot = await self._first_free([account])
            else:
                break
            if slot is None:
                continue
            self.tries += 1
            account.tries += 1
            return Hop(account.target, slot, account.why or self._why_now(account))
        return None

    def failed(self, hop: Hop, failure: ProviderFailure) -> None:
        """The call failed: its account is asked again if that is worth it, after the others."""
        self.failure = failure
        account = self._account(hop.target)
        if not should_retry(account.tries, failure, policy=self.manner.retries):
            self.waiting.remove(account)
            return
        account.not_before = time.monotonic() + retry_delay(account.tries, retry_after=failure.retry_after)
        account.why = f"again after {failure.reason}"

    def drop(self, target: Target, *, reason: str) -> None:
        """The account cannot be asked this, or its call not be afforded."""
        self.waiting.remove(self._account(target))
        skip(self.call, target, reason=reason)

    def drop_all(self, *, reason: str) -> None:
        """No account of the model can be asked."""
        for account in list(self.waiting):
            self.drop(account.target, reason=reason)

    def _pass_over_the_resting(self) -> None:
        for account in list(self.waiting):
            try:
                health.require_well(account.target)
            except ProviderUnavailable as resting:
                self.failure = self.failure or resting
                self.drop(account.target, reason=RESTING)

    async def _first_free(self, accounts: list[_Account]) -> tuple[_Account, ProviderSlot | None]:
        """The first account whose limits let the call through; where none do, a place in the shortest queue."""
        call = self.call
        chosen, shortest_wait = accounts[0], inf
        for account in accounts if len(accounts) > 1 else ():
            slot = await limiter.try_acquire(
                account.target, tokens=call.most_tokens_at(account.target), tenant_id=call.principal.tenant_id
            )
            if isinstance(slot, ProviderSlot):
                return account, slot
            skip(call, account.target, reason=AT_LIMITS, outcome="passed over")
            if slot < shortest_wait:
                chosen, shortest_wait = account, slot
        try:
            return chosen, await limiter.acquire(
                chosen.target,
                tokens=call.most_tokens_at(chosen.target),
                tenant_id=call.principal.tenant_id,
                patience_seconds=self.manner.patience_seconds,
            )
        except ProviderUnavailable as full:
            self.failure = self.failure or full
            for account in accounts:
                self.drop(account.target, reason=AT_LIMITS)
            return chosen, None

    def _why_now(self, account: _Account) -> str:
        if self.tries == 1 or self.failure is None:
            return self.why
        return f"another account after {self.failure.reason}"

    def _account(self, target: Target) -> _Account:
        return next(account for account in self.waiting if account.target == target)


def order_of(call: Call, target: Target) -> list[Candidate]:
    """All accounts of a target's model, the one to ask first in front."""
    accounts = call.snapshot.catalog.accounts_of(target)
    if len(accounts) == 1:
        return [Candidate(target)]
    facts = call.facts
    opening = next((text for text in facts.texts if text not in facts.system), "")
    key = balancing.key_of(
        tenant_id=call.principal.tenant_id,
        request_id=call.id_text,
        system=facts.system,
        opening=opening,
        length=sum(map(len, facts.texts)),
    )
    return balancing.in_order(health.candidates(accounts, streamed=facts.stream), key=key)


def skip(call: Call, target: Target, *, reason: str, outcome: str = "skipped") -> None:
    """Write down that a deployment was passed over, and why."""
    call.receipt.note("hop", outcome, model=target.model, provider=target.provider, reason=reason)
