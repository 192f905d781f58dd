"""The tags that a caller's headers name, of the request and of its run: for calls and for batches.

Invariant: what is kept of them is bounded by the tenant's quotas; without tags, runs and sessions it costs two comparisons.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial

from billing.allocation import admitting, run_tags
from billing.runs.opening import Owner
from llm.calls.headers import RUN_TAGS, CallHeaders
from llm.errors import InvalidRequest
from tenants.allocation import NO_TAGS, Tags
from tenants.policy import Policy
from tenants.principal import Principal


async def find_tags(
    headers: CallHeaders, *, session: str, principal: Principal, user: str, policy: Policy, at: datetime
) -> tuple[CallHeaders, Tags]:
    """The headers with the tags that are kept, and the tags of the run or session. Raises InvalidRequest for tags of no run,
    and LedgerUnavailable."""
    run = headers.run or session
    if headers.run_tags and not run:
        raise InvalidRequest(f"Header {RUN_TAGS} needs a run or a session.", param=RUN_TAGS)
    tenant_id, quotas = principal.tenant_id, policy.quotas
    admit = partial(
        admitting.admitted, tenant_id, at=at, most_names=quotas.tag_names, most_values=quotas.tag_values
    )
    if headers.tags:
        headers = replace(headers, tags=await admit(headers.tags))
    if not run:
        return headers, NO_TAGS
    said = headers.run_tags and await admit(headers.run_tags)
    owner = Owner.of(principal, user=user)
    found = await run_tags.of_run(tenant_id, owner, run, said=said, at=at, hours=policy.envelopes.hours)
    return headers, found
