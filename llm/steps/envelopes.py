"""The envelope step: the envelope of the run that a call is part of pays for it, besides the budgets.

Invariant: a call has its envelope before anything is asked for it.
"""

from llm.calls.call import Call
from llm.calls.envelopes import envelope_of


async def find_envelope(call: Call) -> None:
    """Find or open the envelope of the call's run; see `envelope_of`."""
    policy = call.policy.envelopes
    if policy.opens == "nothing" and call.headers.run_usd is None:
        return
    call.envelope = await envelope_of(
        call.headers,
        session=call.session,
        principal=call.principal,
        user=call.user,
        policy=policy,
        at=call.received_at,
    )
    if call.envelope:
        call.receipt.note("envelope", call.envelope.run, budget_id=call.envelope.id)
