"""Calls to providers: hold, call, settle; again, or elsewhere, when one fails.

Invariant: each try is an attempt of its own: held and committed as sent before its first byte goes out, and ended in
the ledger whatever happens to it: captured, estimated where the provider may bill it, voided where it cannot.
"""

from collections.abc import Iterator
from itertools import count
from typing import Final

from billing.budgets.balances import BudgetExceeded
from billing.outcomes import ModelUnpriced
from config import resources
from llm.calls import ending
from llm.calls.answers import Answer, StreamedAnswer, answer_headers, purser_block
from llm.calls.call import Call
from llm.providers.client import ProviderReply, ProviderStream
from llm.providers.limiter import limiter
from llm.providers.outcomes import ProviderFailure, ProviderRejected
from llm.providers.retries import DEFAULT, RetryPolicy
from llm.providers.target import Target
from llm.steps import hedging, memory, repairing, settling, storing, streaming
from llm.steps.hops import Accounts, Hop
from llm.steps.repairing import Settled, answer_of
from llm.steps.sending import CANNOT_BE_ASKED, Underway, check_room, ended_by_whatever_stops_it, hold
from llm.wire import Untranslatable
from tenants.errors import ClientError

FIRST_CHOICE: Final = "first choice"


async def first_success(
    call: Call, targets: list[Target], *, retries: RetryPolicy = DEFAULT
) -> Answer | StreamedAnswer:
    """Try the targets in order, at each of their accounts and as often as is worth it; raise the last failure if none
    answers, the first refusal if none could be asked."""
    numbers = count(1)
    failure: ProviderFailure | None = None
    refusal: ClientError | None = None
    for target in targets:
        accounts = Accounts.of(
            call,
            target,
            why=f"fallback after {failure.reason}" if failure else FIRST_CHOICE,
            retries=retries,
        )
        try:
            await check_room(call, target)
        except CANNOT_BE_ASKED as error:
            if not is_of_one_account(error):
                refusal = refusal or error
                accounts.drop_all(reason=f"{error.code}: {error.message}")
        while hop := await accounts.next():
            try:
                return await _attempt(call, hop, numbers)
            except CANNOT_BE_ASKED as error:
                refusal = refusal or error
                reason = f"{error.code}: {error.message}"
                if is_of_one_account(error):
                    accounts.drop(hop.target, reason=reason)
                else:
                    accounts.drop_all(reason=reason)
            except ProviderFailure as error:
                if isinstance(error, ProviderRejected) and error.code != "model_not_found":
                    raise  # the request itself is wrong: no other account or model will like it better
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


async def _attempt(call: Call, hop: Hop, numbers: Iterator[int]) -> Answer | StreamedAnswer:
    """One try at an account whose turn has come: hold, call, settle."""
    try:
        first = Underway(await hold(call, hop.target, number=next(numbers), why=hop.why), hop.slot)
    except BaseException:
        resources.background(limiter.take_back(hop.slot))
        raise
    async with ended_by_whatever_stops_it(call, first):
        with call.receipt.provider_time():
            answering, reply = await hedging.first_byte(call, first, numbers)
    if isinstance(reply, ProviderStream):
        async with ended_by_whatever_stops_it(call, answering):
            return streaming.begin(call, answering.attempt, answering.slot, reply)
    return await _deliver(call, answering, reply, numbers)


async def _deliver(call: Call, answering: Underway, reply: ProviderReply, numbers: Iterator[int]) -> Answer:
    """Settle a whole answer, have it repaired if it is not of the form asked for, and make the client's of it."""
    async with ended_by_whatever_stops_it(call, answering):
        await call.settle_cancelled()
        outcome = await settling.capture(call, answering.attempt, reply.body, upstream_id=reply.request_id)
    answering.free_place(tokens=outcome.input_tokens + outcome.output_tokens)
    settled = Settled(answering.attempt, reply, outcome, answer_of(answering.attempt, reply))
    given = await repairing.honest(call, settled, numbers)
    attempt, reply, outcome, answer = given.attempt, given.reply, given.outcome, given.answer
    block = purser_block(call, outcome)
    body = attempt.exchange.answer_bytes(answer, reply.raw, block)
    headers = answer_headers(call, outcome)
    if reply.is_exact:
        memory.remember_soon(call, settling.to_remember(call, attempt, answer, outcome))
        await storing.keep(call, answer, block)
    await ending.answered(call, outcome)
    return Answer(body, headers)
