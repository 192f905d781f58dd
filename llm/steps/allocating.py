"""The allocate step: whose cost the call is, before anything is asked for it.

Invariant: it writes nothing but what the caller says of itself; a call that lacks what its tenant requires ends here.
"""

from llm.calls.call import Call
from llm.calls.dimensions import require_tags
from llm.calls.tags import find_tags


async def allocate(call: Call) -> None:
    """Find the call's tags and those of its run. Raises TagNeeded where the tenant refuses what lacks one."""
    headers = call.headers
    if headers.tags or headers.run_tags or headers.run or call.session:
        call.headers, call.run_tags = await find_tags(
            headers,
            session=call.session,
            principal=call.principal,
            user=call.user,
            policy=call.policy,
            at=call.received_at,
        )
    require_tags(call.snapshot, call.allocation)
