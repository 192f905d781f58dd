"""Stores answers for further embedders too: when a tenant changes its embedder, the new one finds entries.

Invariant: runs in the background. An embedder that fails does not affect the others.
"""

from dataclasses import replace

from caching.answers import CachedAnswer
from caching.decision import Lookup
from caching.embedders.registry import ready_embedder
from caching.entries import vectors
from caching.entries.vectors import NO_VECTOR, FindEmbedder
from caching.scope import Asker
from caching.semantic import cache as semantic
from tenants.policy import CachePolicy


async def remember_for_others(
    lookup: Lookup,
    answer: CachedAnswer,
    *,
    policy: CachePolicy,
    asker: Asker | None = None,
    find_embedder: FindEmbedder = ready_embedder,
) -> int:
    """Store the answer for the policy's embedders that the look-up has no vector of. Returns how many.

    These are `also_embed_with`, and `embedder` itself if its vector came too late for the request.
    """
    scope = lookup.scope
    if scope is None:
        return 0
    wanted = dict.fromkeys(policy.also_embed_with)
    if lookup.vector is None:
        wanted = {policy.embedder: None} | wanted
    else:
        wanted.pop(policy.embedder, None)
    kept = 0
    for choice in wanted:
        try:
            embedder = await find_embedder(choice)
            if embedder.truncates(scope.question):
                continue
            vector = await vectors.in_background(embedder, scope.question, tenant_id=scope.tenant_id)
        except NO_VECTOR as error:
            semantic.note_failure("embed", error)
            continue
        placed = replace(scope, embedder=embedder.space_of(vector))
        kept += await semantic.remember(
            Lookup(outcome="miss", scope=placed, vector=vector), answer, policy=policy, asker=asker
        )
    return kept
