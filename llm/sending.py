"""One attempt from its hold to its answer's first byte.

Invariant: what is sent was held and committed first. An attempt that fails here is ended here: estimated where the
provider may bill it, voided where it cannot.
"""

from dataclasses import dataclass
from typing import Final

from billing import holds, ledger
from billing.outcomes import BudgetExceeded, ModelUnpriced
from config import resources
from llm import metrics, settling
from llm.attempt import Attempt, plan
from llm.call import Call
from llm.catalog import Target
from llm.errors import ContextLengthExceeded
from llm.providers import client
from llm.providers.client import ProviderReply, ProviderStream
from llm.providers.health import health
from llm.providers.limiter import ProviderSlot, limiter
from llm.providers.outcomes import ProviderFailure
from llm.wire import Body, Untranslatable

# what a deployment is passed over for, where another one may do
CANNOT_BE_ASKED: Final = (BudgetExceeded, ModelUnpriced, Untranslatable, ContextLengthExceeded)

Reply = ProviderReply | ProviderStream


@dataclass(frozen=True, slots=True)
class Underway:
    """An attempt whose hold is committed, and its place at the account."""

    attempt: Attempt
    slot: ProviderSlot

    def free_place(self, *, tokens: int | None = None) -> None:
        resources.background(limiter.release(self.slot, tokens=tokens))


async def hold(call: Call, target: Target, *, number: int, why: str, body: Body | None = None) -> Attempt:
    """Hold the upper bound of the call, or of another body, against every budget that applies; committed as sent."""
    attempt = plan(call, target, number, body=body)
    try:
        call.balances = await holds.admit(attempt.reservation(call))
    except BudgetExceeded as refusal:
        smaller = attempt.within(call, refusal.balance)
        if smaller is None:
            raise
        attempt = smaller
        call.balances = await holds.admit(attempt.reservation(call))
    call.receipt.note("hold", "held", attempt=number, **attempt.to_receipt())
    call.receipt.note_attempt(number, why=why)
    return attempt


async def send(call: Call, attempt: Attempt) -> Reply:
    """Send it: the whole answer, or the stream once its first byte is here. Raises ProviderFailure."""
    target, exchange = attempt.target, attempt.exchange
    order = client.open_stream if call.facts.stream else client.call
    with health.watch(target, streamed=call.facts.stream):
        reply: Reply = await order(target, exchange.payload(), path=exchange.path, headers=call.passed_on)
    metrics.ATTEMPTS.labels(target.provider, target.model, "answered").inc()
    return reply


async def give_up(call: Call, attempt: Attempt, failure: ProviderFailure) -> None:
    """End a failed attempt in the ledger: nothing is owed if the provider cannot have worked on it."""
    metrics.ATTEMPTS.labels(attempt.target.provider, attempt.target.model, failure.code).inc()
    if failure.upstream_status == 429 and failure.retry_after:
        await limiter.pause(attempt.target, seconds=failure.retry_after)
    call.receipt.note_attempt(
        attempt.number,
        attempt_id=str(attempt.id),
        model=attempt.target.model,
        provider=attempt.target.provider,
        **failure.to_receipt(),
    )
    if failure.may_be_billed:
        await settling.estimate(call, attempt, reason=failure.code)
    else:
        call.balances = await ledger.void(attempt.id, reason=failure.code) or call.balances
