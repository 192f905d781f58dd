"""Sends one try: held first, then sent, until its answer's first byte.

Invariant: what is sent was held and committed first.
"""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from billing.budgets.balances import Balance, BudgetExceeded
from billing.errors import LedgerUnavailable, ModelUnpriced
from billing.ledger import holds, settlements
from billing.ledger.extensions import Extension, extend
from billing.ledger.waiting import take_over
from config import resources
from llm import metrics
from llm.calls.call import Call
from llm.errors import ContextLengthExceeded
from llm.output.covering import share_of_the_rest
from llm.output.limits import OutputLimit
from llm.providers import client
from llm.providers.client import ProviderReply, ProviderStream
from llm.providers.health import health
from llm.providers.outgoing import Outgoing
from llm.providers.target import Target
from llm.steps.planning import PlannedAttempt, plan
from llm.steps.underway import Underway
from llm.wire import Untranslatable
from tenants.errors import ClientError

# what a deployment is passed over for, where another one may do
CANNOT_BE_ASKED: Final = (BudgetExceeded, ModelUnpriced, Untranslatable, ContextLengthExceeded)

# of a minute of an account: a call that takes no more may be refused after it has taken its place
SMALL_SHARE: Final = 100

Reply = ProviderReply | ProviderStream


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


async def hold(underway: Underway, target: Target, *, why: str) -> None:
    """Hold the upper bound of the call against every budget that applies; committed as sent."""
    call = underway.call
    number = call.next_attempt()
    attempt = await call.read_by(partial(plan, call, target, number))
    try:
        try:
            call.balances = await _admit(call, attempt)
        except BudgetExceeded as refusal:
            smaller = attempt.within(call, refusal.balance)
            if smaller is None:
                raise
            attempt = smaller
            call.balances = await _admit(call, attempt, is_covering=False)
    except asyncio.CancelledError:  # it is admitted all the same
        resources.background(_take_back(call, attempt))
        raise
    underway.held = attempt
    underway.held = attempt = await _with_its_share(call, attempt)
    call.receipt.note("hold", "held", attempt=number, **attempt.to_receipt())
    call.receipt.note_attempt(number, why=why)


async def send(underway: Underway) -> Reply:
    """Send it: the whole answer, or the stream once its first byte is here. Raises ProviderFailure."""
    call = underway.call
    target, exchange = underway.attempt.target, underway.attempt.exchange
    order = client.open_stream if call.facts.stream else client.call
    headers = call.passed_on if exchange.is_native else {}
    with health.watch(target, streamed=call.facts.stream):
        underway.body = Outgoing(await call.read_by(exchange.payload))
        try:
            reply: Reply = await order(target, underway.body, wire=exchange.upstream, headers=headers)
        finally:
            call.was_sent |= underway.is_sent
    metrics.ATTEMPTS.add(target.provider, target.model, "answered")
    return reply


async def _admit(call: Call, attempt: PlannedAttempt, *, is_covering: bool = True) -> list[Balance]:
    """Hold it; of a call that waited, in the place of what held its money, and as much of it."""
    reserve, wanted = call.reserve, attempt.reservation(call)
    if reserve is None or reserve.attempt_id is None:
        return await holds.admit(wanted)
    balances = await take_over(reserve.attempt_id, reserve.covering(wanted) if is_covering else wanted)
    call.reserve = replace(reserve, attempt_id=None)
    return balances


async def _with_its_share(call: Call, attempt: PlannedAttempt) -> PlannedAttempt:
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


async def _take_back(call: Call, attempt: PlannedAttempt) -> None:
    """Void an attempt whose caller did not wait for its admission. Admitting it again holds nothing more."""
    try:
        await holds.admit(attempt.reservation(call))
    except ClientError:
        return
    await settlements.void(attempt.id, reason="not sent")
