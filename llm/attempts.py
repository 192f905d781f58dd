"""Calls to providers: hold, call, settle; again, or elsewhere, when one fails.

Invariant: each try is an attempt of its own: held and committed as sent before its first byte goes out, and ended in
the ledger whatever happens to it: captured, estimated where the provider may bill it, voided where it cannot.
"""

from itertools import count
from typing import Final

from billing import holds, ledger
from billing.outcomes import BudgetExceeded, ModelUnpriced
from config import resources
from llm import cached, ending, metrics, settling, streaming
from llm.answers import Answer, StreamedAnswer, answer_headers, purser_block
from llm.attempt import Attempt, plan
from llm.call import Call
from llm.catalog import Target
from llm.errors import ContextLengthExceeded
from llm.hops import Accounts, Hop
from llm.providers import client
from llm.providers.health import health
from llm.providers.limiter import ProviderSlot, limiter
from llm.providers.outcomes import ProviderFailure, ProviderRejected
from llm.wire import Untranslatable
from tenants.outcomes import ClientError

FIRST_CHOICE: Final = "first choice"
# what a deployment is passed over for, once another one has failed
CANNOT_BE_ASKED: Final = (BudgetExceeded, ModelUnpriced, Untranslatable, ContextLengthExceeded)


async def first_success(call: Call, targets: list[Target]) -> Answer | StreamedAnswer:
    """Try the targets in order, at each of their accounts and as often as is worth it; raise the last failure if none
    answers, the first refusal if none could be asked."""
    numbers = count(1)
    failure: ProviderFailure | None = None
    refusal: ClientError | None = None
    for target in targets:
        accounts = Accounts.of(
            call, target, why=f"fallback after {failure.reason}" if failure else FIRST_CHOICE
        )
        while hop := await accounts.next():
            try:
                return await _attempt(call, hop, next(numbers))
            except CANNOT_BE_ASKED as error:
                refusal = refusal or error
                reason = f"{error.code}: {error.message}"
                if is_of_one_account(error):
                    accounts.drop(hop.target, reason=reason)
                else:
                    accounts.drop_all(reason=reason)
            except ProviderRejected:
                raise  # the request itself is wrong: no other account or model will like it better
            except ProviderFailure as error:
                accounts.failed(hop, error)
        failure = accounts.failure or failure
        if failure is None and refusal is not None:
            raise refusal  # the client's own choice cannot be asked: nothing failed that a fallback would stand in for
    if failure is None:
        assert refusal is not None
        raise refusal
    raise failure


def is_of_one_account(refusal: ClientError) -> bool:
    """Whether the same model may do at another account: only this one has no price, or no budget left."""
    if isinstance(refusal, BudgetExceeded):
        return refusal.balance.scope == "provider"
    return isinstance(refusal, ModelUnpriced | Untranslatable)


async def _attempt(call: Call, hop: Hop, number: int) -> Answer | StreamedAnswer:
    """One try at an account whose turn has come: hold, call, settle."""
    try:
        attempt = await _hold(call, hop, number)
        try:
            return await _deliver(call, attempt, hop.slot)
        except ProviderFailure as failure:
            await _give_up(call, attempt, failure)
            raise
    except BaseException:
        resources.background(limiter.release(hop.slot))
        raise


async def _hold(call: Call, hop: Hop, number: int) -> Attempt:
    """Hold the upper bound of the call against every budget that applies; committed as sent."""
    attempt = plan(call, hop.target, number)
    try:
        call.balances = await holds.admit(attempt.reservation(call))
    except BudgetExceeded as refusal:
        smaller = attempt.within(call, refusal.balance)
        if smaller is None:
            raise
        attempt = smaller
        call.balances = await holds.admit(attempt.reservation(call))
    call.receipt.note("hold", "held", attempt=number, **attempt.to_receipt())
    call.receipt.note_attempt(number, why=hop.why)
    return attempt


async def _deliver(call: Call, attempt: Attempt, slot: ProviderSlot) -> Answer | StreamedAnswer:
    if call.facts.stream:
        with health.watch(attempt.target, streamed=True):
            stream = await streaming.open_first(call, attempt)
        return streaming.begin(call, attempt, slot, stream)
    with health.watch(attempt.target), call.receipt.provider_time():
        reply = await client.call(
            attempt.target, attempt.exchange.payload(), path=attempt.exchange.path, headers=call.passed_on
        )
    metrics.ATTEMPTS.labels(attempt.target.provider, "answered").inc()
    outcome = await settling.capture(call, attempt, reply.body, upstream_id=reply.request_id)
    resources.background(limiter.release(slot, tokens=outcome.input_tokens + outcome.output_tokens))
    body = attempt.exchange.answer_bytes(reply.body, reply.raw, purser_block(call, outcome))
    headers = answer_headers(call, outcome)
    if answer := settling.to_remember(call, attempt, attempt.exchange.answer(reply.body), outcome):
        resources.background(cached.remember(call, answer))
    await ending.answered(call, outcome)
    return Answer(body, headers)


async def _give_up(call: Call, attempt: Attempt, failure: ProviderFailure) -> None:
    """End a failed attempt in the ledger: nothing is owed if the provider cannot have worked on it."""
    metrics.ATTEMPTS.labels(attempt.target.provider, failure.code).inc()
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
