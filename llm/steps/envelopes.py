"""The envelope step: which run a call is part of, and the envelope that pays for it.

Invariant: a call without a run or session, and every call of a tenant without envelopes, passes with two comparisons; one that
is to have an envelope and gets none is refused, because it would have no limit.
"""

from datetime import timedelta
from decimal import Decimal

from billing.runs import opening
from billing.runs.opening import Envelope, NoMoreEnvelopes, Owner, Wish
from llm.calls.call import Call
from llm.calls.headers import RUN_USD
from llm.errors import InvalidRequest
from tenants.errors import QuotaExceeded
from tenants.policy import EnvelopePolicy


async def find_envelope(call: Call) -> None:
    """Find or open the envelope of the call's run. Raises InvalidRequest for an amount that it may not have, and
    QuotaExceeded where no more may be open."""
    policy = call.policy.envelopes
    if policy.opens == "nothing" and call.headers.run_usd is None:
        return
    run = call.headers.run or ("" if policy.opens == "run" else call.session)
    amount = _amount_asked(call.headers.run_usd, run=run, policy=policy)
    if run:
        call.envelope = await _found(call, run, amount)
        if call.envelope:
            call.receipt.note("envelope", call.envelope.run, budget_id=call.envelope.id)


async def _found(call: Call, run: str, amount: Decimal | None) -> Envelope | None:
    policy, owner = call.policy.envelopes, Owner.of(call.principal, user=call.user)
    opens_itself = policy.opens == "session" or (policy.opens == "run" and bool(call.headers.run))
    usd = amount or (policy.usd_of(key=call.principal.key_name, user=call.user) if opens_itself else None)
    named_by = opening.NAMED if call.headers.run else opening.SESSION
    wish = Wish(
        call.principal.tenant_id,
        owner,
        run,
        opening.ASKED if amount else named_by,
        usd,
        call.received_at + timedelta(hours=policy.hours),
        policy.most_open,
    )
    try:
        return await opening.find(wish, at=call.received_at)
    except NoMoreEnvelopes:
        raise QuotaExceeded(
            f"There are {policy.most_open} open runs of this {'user' if call.principal.user else 'key'}, as many as its"
            f" policy allows; each ends {policy.hours} hours after it began. Use one of them.",
            facts={"owner": owner.id, "most_open": policy.most_open},
        ) from None


def _amount_asked(amount: Decimal | None, *, run: str, policy: EnvelopePolicy) -> Decimal | None:
    """What the caller wants a new envelope to have. One that exists keeps what it has."""
    if amount is None:
        return None
    if policy.opens == "nothing" or not run:
        raise InvalidRequest(f"Header {RUN_USD} needs a run, and a policy with envelopes.", param=RUN_USD)
    if amount > Decimal(str(policy.most_usd)):
        raise InvalidRequest(f"Header {RUN_USD} may be at most {policy.most_usd:g}.", param=RUN_USD)
    return amount
