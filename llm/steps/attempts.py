"""Calls providers: hold, then call; again, or at another account, when one fails.

Invariant: each try is an attempt of its own: held and committed as sent before its first byte goes out, and ended in
the ledger in every case: captured, estimated where the provider may bill it, voided where it cannot.
"""

from dataclasses import replace

from billing.budgets.balances import BudgetExceeded
from billing.errors import ModelUnpriced
from llm.calls.call import Call
from llm.providers.errors import ProviderFailure, ProviderRejected
from llm.providers.target import Target
from llm.steps import hedging
from llm.steps.hops import FIRST_CHOICE, Accounts, Hop, Manner
from llm.steps.sending import CANNOT_BE_ASKED, Reply, check_room, hold
from llm.steps.underway import Underway
from llm.wire import Untranslatable
from tenants.errors import ClientError


async def first_success(
    call: Call, targets: list[Target], manner: Manner = FIRST_CHOICE
) -> tuple[Underway, Reply]:
    """The first try that answers, for its answer to be settled, and the answer: whole, or a stream whose first byte is here.

    The targets are tried in order, at each of their accounts and as often as is worth it. Raises the last failure if none
    answers, the first refusal if none could be asked.
    """
    failure: ProviderFailure | None = None
    refusal: ClientError | None = None
    for target in targets:
        if failure:
            manner = replace(manner, why=f"fallback after {failure.reason}")
        accounts = Accounts.of(call, target, manner=manner)
        try:
            await check_room(call, target)
        except CANNOT_BE_ASKED as error:
            if not is_of_one_account(error):
                refusal = refusal or error
                accounts.drop_all(reason=f"{error.code}: {error.message}")
        while hop := await accounts.next():
            try:
                return await _attempt(call, hop, may_hedge=manner.is_elsewhere)
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
            raise refusal  # the client's own choice cannot be asked: nothing failed that a fallback could replace
    if failure is None:
        assert refusal is not None
        raise refusal
    raise failure


def is_of_one_account(refusal: ClientError) -> bool:
    """Whether the same model may do at another account: only this one has no price, or no budget left."""
    if isinstance(refusal, BudgetExceeded):
        return refusal.balance.scope == "provider"
    return isinstance(refusal, ModelUnpriced | Untranslatable)


async def _attempt(call: Call, hop: Hop, *, may_hedge: bool) -> tuple[Underway, Reply]:
    """One try at an account whose turn has come: hold, call."""
    async with Underway(call, hop.slot) as first:
        await hold(first, hop.target, why=hop.why)
        with call.receipt.provider_time():
            return await hedging.first_byte(call, first, may_hedge=may_hedge)
