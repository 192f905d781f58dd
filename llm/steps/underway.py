"""One try at a provider's account: its place there, its hold, and how both end.

Invariant: everything for a try is done inside `async with`. What is raised there ends its hold in the ledger and
frees its place; once it is settled or voided, leaving frees the place. Nothing else ends a try, or frees a place.
"""

import asyncio
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import structlog

from billing.errors import LedgerUnavailable
from billing.ledger import settlements
from billing.ledger.waiting import hold_again
from config import resources
from llm import metrics
from llm.calls.call import Call
from llm.calls.settled_cost import SettledCost
from llm.providers.errors import ProviderFailure
from llm.providers.limiter import ProviderSlot, limiter
from llm.providers.outgoing import Outgoing
from llm.steps import settling
from llm.steps.planning import PlannedAttempt
from llm.wire import Body, StreamMeter
from tenants.errors import ClientError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Underway:
    """A try whose place at the account is taken. Enter it for each part of the work; a part that leaves it open hands it
    to the next one."""

    call: Call
    slot: ProviderSlot
    held: PlannedAttempt | None = None  # once its hold is committed
    body: Outgoing | None = None  # what goes out of it
    outcome: SettledCost | None = None  # once it is in the ledger with what it cost
    is_void: bool = False  # it is in the ledger as one that owes nothing

    @property
    def attempt(self) -> PlannedAttempt:
        assert self.held is not None
        return self.held

    @property
    def is_sent(self) -> bool:
        """Whether any of it may have reached the provider."""
        return self.body is not None and self.body.is_sent

    async def __aenter__(self) -> "Underway":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.is_void or self.outcome is not None:
            self._leave(error)
        elif error is not None:
            await self.end_by(error)

    async def end_by(self, error: BaseException) -> None:
        """End it by what stopped it: nothing is owed where nothing was sent, or where the provider states that it failed;
        else what it is known to have used, or its bound. Never raises but for being cancelled, and ends it all the same."""
        self._leave(error)
        if self.held is None:
            return
        ending = resources.background(self._end_in_ledger(error))
        await asyncio.wait([ending])
        if not ending.cancelled() and (problem := ending.exception()):
            log.error("attempt_not_ended", attempt=str(self.attempt.id), exc_info=problem)

    async def capture(self, answer: Body, *, upstream_id: str) -> SettledCost:
        """Settle it as answered whole."""
        self.outcome = await settling.capture(self.call, self.attempt, answer, upstream_id=upstream_id)
        return self.outcome

    async def capture_stream(
        self, meter: StreamMeter, *, upstream_id: str, reason: str = "", is_whole: bool = False
    ) -> SettledCost:
        """Settle it as far as its stream came."""
        self.outcome = await settling.capture_stream(
            self.call, self.attempt, meter, upstream_id=upstream_id, reason=reason, is_whole=is_whole
        )
        return self.outcome

    async def estimate(self, *, reason: str) -> SettledCost:
        """Settle it at its bound."""
        self.outcome = await settling.estimate(self.call, self.attempt, reason=reason)
        return self.outcome

    async def void(self, *, reason: str) -> None:
        """End it as one that owes nothing. What it took over from a call that waits, waits on."""
        if not await self._waits_again():
            self.call.balances = await settlements.void(self.attempt.id, reason=reason) or self.call.balances
        self.is_void = True

    async def _waits_again(self) -> bool:
        reserve = self.call.reserve
        if reserve is None or reserve.attempt_id is not None:
            return False
        try:
            await hold_again([self.attempt.id], until=reserve.until)
        except LedgerUnavailable:
            return False  # the void is tried for longer
        self.call.reserve = replace(reserve, attempt_id=self.attempt.id)
        return True

    def _leave(self, error: BaseException | None) -> None:
        """Free its place: nothing was taken of the account where nothing was sent, no tokens where the provider cannot have
        worked on it; else what it used, as far as that is known."""
        if not self.is_sent:
            leaving = limiter.take_back(self.slot)
        elif self.outcome is not None:
            used = self.outcome.input_tokens + self.outcome.output_tokens
            leaving = limiter.release(self.slot, tokens=used)
        else:
            is_free = isinstance(error, ProviderFailure) and not error.may_be_billed
            leaving = limiter.release(self.slot, tokens=0 if is_free or self.is_void else self.slot.tokens)
        resources.background(leaving)

    async def _end_in_ledger(self, error: BaseException) -> None:
        if isinstance(error, ProviderFailure):
            await self._give_up(error)
            return
        reason = error.code if isinstance(error, ClientError) else type(error).__name__
        self._count("interrupted")
        self._note(code=reason, sent=self.is_sent)
        if self.is_sent:
            await self.estimate(reason=reason)
        else:
            await self.void(reason=reason)

    async def _give_up(self, failure: ProviderFailure) -> None:
        """The provider failed: what it states of its usage is billed; nothing where it cannot have worked on it."""
        self._count(failure.code)
        if failure.upstream_status == 429 and failure.retry_after:
            await limiter.pause(self.attempt.target, seconds=failure.retry_after)
        self._note(**failure.to_receipt())
        if failure.received is not None:
            await self.capture(failure.received, upstream_id=failure.upstream_request_id)
        elif failure.may_be_billed:
            await self.estimate(reason=failure.code)
        else:
            await self.void(reason=failure.code)

    def _count(self, outcome: str) -> None:
        target = self.attempt.target
        metrics.ATTEMPTS.add(target.provider, target.model, outcome)

    def _note(self, **facts: Any) -> None:
        target = self.attempt.target
        self.call.receipt.note_attempt(
            self.attempt.number,
            attempt_id=str(self.attempt.id),
            model=target.model,
            provider=target.provider,
            **facts,
        )
