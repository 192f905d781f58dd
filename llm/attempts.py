"""Calls to providers: hold, call, settle; again, or elsewhere, when one fails.

Invariant: each try is an attempt of its own: held and committed as sent before its first byte goes out, and ended in
the ledger whatever happens to it: captured, estimated where the provider may bill it, voided where it cannot.
"""

import asyncio
from itertools import count

from billing import holds, ledger
from billing.outcomes import BudgetExceeded
from config import resources
from llm import cached, ending, metrics, settling, streaming
from llm.answers import Answer, StreamedAnswer, answer_headers, purser_block
from llm.attempt import Attempt, plan
from llm.call import Call
from llm.catalog import Target
from llm.providers import client
from llm.providers.health import health
from llm.providers.limiter import ProviderSlot, limiter
from llm.providers.outcomes import ProviderFailure, ProviderRejected, ProviderUnavailable
from llm.providers.retries import retry_delay, should_retry
from llm.wire import Untranslatable


async def first_success(call: Call, targets: list[Target]) -> Answer | StreamedAnswer:
    """Try the targets in order, each as often as is worth it; raise the last failure if none answers."""
    numbers = count(1)
    failure: ProviderFailure | None = None
    for target in targets:
        for tries in count(1):
            try:
                return await _attempt(call, target, next(numbers))
            except (BudgetExceeded, Untranslatable):
                if failure is None:
                    raise
                break  # a fallback that cannot be afforded or asked is no fallback; the provider's failure is told
            except ProviderFailure as error:
                failure = error
                if not should_retry(tries, error):
                    break
                await asyncio.sleep(retry_delay(tries, retry_after=error.retry_after))
        if isinstance(failure, ProviderRejected):
            break  # the request itself is wrong: no other model will like it better
    assert failure is not None
    raise failure


async def _attempt(call: Call, target: Target, number: int) -> Answer | StreamedAnswer:
    """One try: wait for the account's turn, hold, call, settle. A wait comes first, so that no hold ages in it."""
    if not health.is_well(target):
        raise ProviderUnavailable(f"{target.provider} is not well at the moment.", sent=False)
    slot = await limiter.acquire(target, tokens=call.rough_tokens)
    try:
        attempt = await _hold(call, target, number)
        try:
            with health.watch(target):
                return await _deliver(call, attempt, slot)
        except ProviderFailure as failure:
            await _give_up(call, attempt, failure)
            raise
    except BaseException:
        resources.background(limiter.release(slot))
        raise


async def _hold(call: Call, target: Target, number: int) -> Attempt:
    """Hold the upper bound of the call against every budget that applies; committed as sent."""
    attempt = plan(call, target, number)
    try:
        call.balances = await holds.admit(attempt.reservation(call))
    except BudgetExceeded as refusal:
        smaller = attempt.within(call, refusal.balance)
        if smaller is None:
            raise
        attempt = smaller
        call.balances = await holds.admit(attempt.reservation(call))
    call.receipt.note("hold", "held", attempt=number, **attempt.to_receipt())
    return attempt


async def _deliver(call: Call, attempt: Attempt, slot: ProviderSlot) -> Answer | StreamedAnswer:
    if call.facts.stream:
        return await streaming.begin(call, attempt, slot)
    with call.receipt.provider_time():
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
