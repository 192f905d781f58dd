"""Which envelope pays for what a caller's headers name: for calls and for batches.

Invariant: what names no run or session, and every tenant without envelopes, passes with two comparisons; what is to have an
envelope and gets none is refused, because it would have no limit.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from billing.runs import opening
from billing.runs.opening import Envelope, NoMoreEnvelopes, Owner, Wish
from llm.calls.headers import RUN_USD, CallHeaders
from llm.errors import InvalidRequest
from tenants.errors import QuotaExceeded
from tenants.policy import EnvelopePolicy
from tenants.principal import Principal


async def envelope_of(
    headers: CallHeaders,
    *,
    session: str,
    principal: Principal,
    user: str,
    policy: EnvelopePolicy,
    at: datetime,
) -> Envelope | None:
    """The open envelope of a run or session, opened where the policy says so. Raises InvalidRequest for an amount that it may
    not have, QuotaExceeded where no more may be open, and LedgerUnavailable."""
    if policy.opens == "nothing" and headers.run_usd is None:
        return None
    run = headers.run or ("" if policy.opens == "run" else session)
    amount = _amount_asked(headers.run_usd, run=run, policy=policy)
    if not run:
        return None
    opens_itself = policy.opens == "session" or (policy.opens == "run" and bool(headers.run))
    usd = amount or (policy.usd_of(key=principal.key_name, user=user) if opens_itself else None)
    named_by = opening.NAMED if headers.run else opening.SESSION
    owner = Owner.of(principal, user=user)
    wish = Wish(
        principal.tenant_id,
        owner,
        run,
        opening.ASKED if amount else named_by,
        usd,
        at + timedelta(hours=policy.hours),
        policy.most_open,
    )
    try:
        return await opening.find(wish, at=at)
    except NoMoreEnvelopes:
        raise QuotaExceeded(
            f"There are {policy.most_open} open runs of this {'user' if principal.user else 'key'}, as many as its"
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
