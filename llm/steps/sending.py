"""One attempt from its hold to its answer's first byte.

Invariant: what is sent was held and committed first. An attempt that comes to no answer is ended here, whatever stopped
it: voided where nothing of it went out or the provider states that it failed, else booked at its bound.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from billing.budgets.balances import BudgetExceeded
from billing.ledger import holds, settlements
from billing.ledger.extensions import Extension, extend
from billing.outcomes import LedgerUnavailable, ModelUnpriced
from config import resources
from llm import metrics
from llm.calls.call import Call
from llm.errors import ContextLengthExceeded
from llm.output.covering import share_of_the_rest
from llm.output.limits import OutputLimit
from llm.providers import client
from llm.providers.client import ProviderReply, ProviderStream
from llm.providers.health import health
from llm.providers.limiter import ProviderSlot, limiter
from llm.providers.outcomes import ProviderFailure
from llm.providers.outgoing import Outgoing
from llm.providers.target import Target
from llm.steps import settling
from llm.steps.planning import Attempt, plan
from llm.wire import Body, Untranslatable
from tenants.errors import ClientError

# what a deployment is passed over for, where another one may do
CANNOT_BE_ASKED: Final = (BudgetExceeded, ModelUnpriced, Untranslatable, ContextLengthExceeded)

# of a minute of an account: a call that takes no more may be refused after it has taken its place
SMALL_SHARE: Final = 100

Reply = ProviderReply | ProviderStream

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Underway:
    """An attempt whose hold is committed, its place at the account, and what of it goes out."""

    attempt: Attempt
    slot: ProviderSlot
    body: Outgoing | None = None

    @property
    def is_sent(self) -> bool:
        """Whether any of it may have reached the provider."""
        return self.body is not None and self.body.is_sent

    def free_place(self, *, tokens: int) -> None:
        """It took `tokens` in all."""
        resources.background(limiter.release(self.slot, tokens=tokens))

    def free_place_after(self, error: BaseException) -> None:
        """It came to no answer: nothing was taken where nothing was sent, no tokens where the provider cannot have worked,
        else what was asked for."""
        if not self.is_sent:
            resources.background(limiter.take_back(self.slot))
        elif isinstance(error, ProviderFailure) and not error.may_be_billed:
            self.free_place(tokens=0)
        else:
            self.free_place(tokens=self.slot.tokens)


async def check_room(call: Call, target: Target) -> None:
    """Raise what `hold` would raise of a call that takes much of an account's limits: they are taken before it is held, and
    what a budget refuses must not keep others waiting meanwhile."""
    limit = target.limits.get("tpm")
    if not limit or call.most_tokens_at(target) * SMALL_SHARE <= limit:
        return
    attempt = await call.read_by(partial(plan, call, target, 0))
    try:
        await holds.look(attempt.reservation(call))
    except BudgetExceeded as refusal:
        if attempt.within(call, refusal.balance) is None:
            raise


async def hold(call: Call, target: Target, *, number: int, why: str, body: Body | None = None) -> Attempt:
    """Hold the upper bound of the call, or of another body, against every budget that applies; committed as sent."""
    attempt = await call.read_by(partial(plan, call, target, number, body=body))
    try:
        try:
            call.balances = await holds.admit(attempt.reservation(call))
        except BudgetExceeded as refusal:
            smaller = attempt.within(call, refusal.balance)
            if smaller is None:
                raise
            attempt = smaller
            call.balances = await holds.admit(attempt.reservation(call))
        attempt = await _with_its_share(call, attempt)
    except asyncio.CancelledError:  # it is admitted all the same
        resources.background(_take_back(call, attempt))
        raise
    call.receipt.note("hold", "held", attempt=number, **attempt.to_receipt())
    call.receipt.note_attempt(number, why=why)
    return attempt


async def _with_its_share(call: Call, attempt: Attempt) -> Attempt:
    """The attempt, no longer than what is held for it where nothing may come beyond: that is raised to its share of what
    the hard budgets have left."""
    if not attempt.must_be_covered or attempt.held_output_tokens >= attempt.max_output_tokens:
        return attempt
    n = call.facts.n
    more = share_of_the_rest(call.balances, rates=attempt.held_rates, input_tokens=attempt.input_tokens)
    most = min(attempt.max_output_tokens, attempt.held_output_tokens + more) // n
    set_by = attempt.limit.set_by if most * n == attempt.max_output_tokens else "share"
    wider = attempt.limited(OutputLimit(most, most, set_by), n=n)
    try:
        extension = Extension(attempt.id, hold_usd=wider.hold_usd, hold_tokens=wider.hold_tokens)
        call.balances = await extend(extension) or call.balances
    except (BudgetExceeded, LedgerUnavailable):  # somebody else took it meanwhile
        held = attempt.held_output_tokens // n
        return attempt.limited(OutputLimit(held, held, "share"), n=n)
    return wider


async def send(call: Call, underway: Underway) -> Reply:
    """Send it: the whole answer, or the stream once its first byte is here. Raises ProviderFailure."""
    target, exchange = underway.attempt.target, underway.attempt.exchange
    order = client.open_stream if call.facts.stream else client.call
    headers = call.passed_on if exchange.is_native else {}
    with health.watch(target, streamed=call.facts.stream):
        underway.body = Outgoing(await call.read_by(exchange.payload))
        try:
            reply: Reply = await order(target, underway.body, wire=exchange.upstream, headers=headers)
        finally:
            call.was_sent |= underway.is_sent
    metrics.ATTEMPTS.labels(target.provider, target.model, "answered").inc()
    return reply


@asynccontextmanager
async def ended_by_whatever_stops_it(call: Call, underway: Underway) -> AsyncIterator[None]:
    """What is done inside settles the attempt; where anything is raised instead, the attempt is ended by it."""
    try:
        yield
    except BaseException as error:
        underway.free_place_after(error)
        ending = resources.background(end(call, underway, error))
        await asyncio.wait([ending])
        if not ending.cancelled() and (problem := ending.exception()):
            log.error("attempt_not_ended", attempt=str(underway.attempt.id), exc_info=problem)
        raise


async def end(call: Call, underway: Underway, error: BaseException) -> None:
    """End an attempt that an exception stopped: nothing is owed if nothing was sent, the bound if it was."""
    attempt = underway.attempt
    if isinstance(error, ProviderFailure):
        await give_up(call, attempt, error)
        return
    reason = error.code if isinstance(error, ClientError) else type(error).__name__
    metrics.ATTEMPTS.labels(attempt.target.provider, attempt.target.model, "interrupted").inc()
    _note_end(call, attempt, code=reason, sent=underway.is_sent)
    if underway.is_sent:
        await settling.estimate(call, attempt, reason=reason)
    else:
        call.balances = await settlements.void(attempt.id, reason=reason) or call.balances


async def give_up(call: Call, attempt: Attempt, failure: ProviderFailure) -> None:
    """End a failed attempt in the ledger: by what it told of its usage, if it did; nothing is owed if the provider cannot
    have worked on it."""
    metrics.ATTEMPTS.labels(attempt.target.provider, attempt.target.model, failure.code).inc()
    if failure.upstream_status == 429 and failure.retry_after:
        await limiter.pause(attempt.target, seconds=failure.retry_after)
    _note_end(call, attempt, **failure.to_receipt())
    if failure.received is not None:
        await settling.capture(call, attempt, failure.received, upstream_id=failure.upstream_request_id)
    elif failure.may_be_billed:
        await settling.estimate(call, attempt, reason=failure.code)
    else:
        call.balances = await settlements.void(attempt.id, reason=failure.code) or call.balances


async def _take_back(call: Call, attempt: Attempt) -> None:
    """Void an attempt whose admission nobody waited for. Admitted again it holds nothing more, and then it is admitted."""
    try:
        await holds.admit(attempt.reservation(call))
    except ClientError:
        return
    await settlements.void(attempt.id, reason="not sent")


def _note_end(call: Call, attempt: Attempt, **facts: Any) -> None:
    call.receipt.note_attempt(
        attempt.number,
        attempt_id=str(attempt.id),
        model=attempt.target.model,
        provider=attempt.target.provider,
        **facts,
    )
