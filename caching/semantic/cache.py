"""The semantic cache: reuses an answer for a question of the same meaning, in the same scope of the same tenant.

Invariant: nothing is served across scopes. In static mode nothing is served that a guard flags. In bounded mode nothing
is served until the scope's own labels have shown how often it would be wrong. A failing cache is a miss: no function
here raises (except `forget`), and none holds a request longer than its timeout.
"""

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from psycopg import Error as DatabaseError
from psycopg import InterfaceError, OperationalError
from psycopg.errors import QueryCanceled
from psycopg_pool import PoolTimeout

from caching.answers import CachedAnswer, UnreadableAnswer, pack
from caching.circuit import Circuit, Unavailable
from caching.decision import Candidate, Draw, Lookup, decide
from caching.eligibility import Traits, check_eligibility
from caching.embedders.base import EmbedderMissing, Vector
from caching.embedders.registry import ready_embedder
from caching.entries import search, storing, vectors
from caching.entries.search import EntryGone
from caching.entries.vectors import NO_VECTOR, FindEmbedder, TextEmbedder
from caching.figures import counts as stats
from caching.learning import evidence
from caching.learning.judging import Judge, judge_candidates
from caching.metrics import FAILURES, SEARCH, STORED
from caching.scope import AnswerScope, Asker, Fingerprint, NotComparable, Origin, scope_of
from caching.scoring.scope_state import weights_of
from caching.scoring.threshold import FLOOR
from config import resources
from tenants.policy import CachePolicy
from tenants.rls import tenant_connection

# The limits of the adaptive timeout of a search.
LEAST_SEARCH_SECONDS, SEARCH_TIMEOUT_SECONDS = 0.01, 0.08
MAX_STORED_BYTES = 1_000_000

__all__ = [
    "Candidate",
    "Lookup",
    "asked_again",
    "bypass",
    "forget",
    "look_up",
    "mark_hit",
    "note_failure",
    "observe",
    "remember",
]

log = structlog.get_logger("purser.cache")


async def ping() -> None:
    async with resources.db.connection(timeout=0.5) as connection:
        await connection.execute("SELECT 1")


database = Circuit(
    "pgvector",
    timeout_seconds=SEARCH_TIMEOUT_SECONDS,
    least_seconds=LEAST_SEARCH_SECONDS,
    probe=ping,
    outages=(OperationalError, InterfaceError, PoolTimeout, OSError),
    no_outages=(QueryCanceled,),
)
_FAILURES = (DatabaseError, PoolTimeout, OSError, EmbedderMissing, Unavailable, EntryGone, UnreadableAnswer)


async def look_up(
    body: Mapping[str, Any],
    *,
    origin: Origin,
    policy: CachePolicy,
    traits: Traits,
    asker: Asker | None = None,
    refresh: bool = False,
    embedder: TextEmbedder | None = None,
    find_embedder: FindEmbedder = ready_embedder,
    draw: Draw = random.random,
    fingerprint: Fingerprint | None = None,
) -> Lookup:
    """Look for an answer that may be reused. About 5 ms, at most 0.2 s; where a provider embeds, the policy's timeout.

    The embedder is the policy's, found by `find_embedder`, unless one is given. With `refresh` nothing is served, and
    the caller's fresh answer replaces the found one. The body's `fingerprint` may be known.
    """
    find = partial(find_embedder, policy.embedder) if embedder is None else partial(_given, embedder)
    found = await _look_up(body, origin, policy, traits, asker, refresh, find, draw, fingerprint)
    scope_digest = found.scope.digest if found.scope and found.best else b""
    stats.record(
        origin.tenant_id,
        cache="semantic",
        outcome=found.outcome,
        reason=found.reason,
        scope_digest=scope_digest,
    )
    return found


def bypass(tenant_id: int, reason: str) -> Lookup:
    """The look-up of a request that does not use the cache, by a header or a policy. Counted like the others."""
    stats.record(tenant_id, cache="semantic", outcome="bypass", reason=reason)
    return Lookup(outcome="bypass", reason=reason)


def mark_hit(lookup: Lookup) -> None:
    """The hit was served: its entry counts as used. In memory; written with the next counts."""
    if lookup.scope is not None and lookup.entry_id is not None:
        stats.touch(lookup.scope.tenant_id, lookup.entry_id)


async def remember(
    lookup: Lookup,
    answer: CachedAnswer,
    *,
    policy: CachePolicy,
    asker: Asker | None = None,
    group: bytes | None = None,
) -> bool:
    """Store an answer for the question that was looked up; False if not stored. The caller checks that it is complete.

    A question that is stored already gets the new answer. `group` is the result of `observe`. Call it in the background.
    """
    scope, vector = lookup.scope, lookup.vector
    if scope is None or vector is None or policy.semantic == "off" or database.is_open:
        return False
    packed = pack(answer)
    if len(packed) > MAX_STORED_BYTES:
        return False
    try:
        await storing.store(
            scope, vector=vector, answer=answer, packed=packed, policy=policy, asker=asker, group=group
        )
        STORED.add("semantic")
        if storing.trim_is_due(scope.tenant_id, policy.max_entries):
            await storing.trim(scope.tenant_id, policy.max_entries)
    except _FAILURES as error:
        note_failure("remember", error)
        return False
    return True


async def observe(
    lookup: Lookup,
    fresh_answer: str,
    *,
    policy: CachePolicy,
    asker: Asker | None = None,
    judge: Judge | None = None,
) -> bytes | None:
    """Learn from a look-up that had candidates and was answered upstream: would one of them have served?

    If so, the asker vouches for it from now on. Call it in the background, with the text of the fresh answer. It waits
    for the `judge`, which is asked where rules and vectors leave doubt. Returns the group of the entries with the same
    answer, for `remember`.
    """
    if not can_teach(lookup, policy=policy):
        return None
    assert lookup.scope is not None
    assert lookup.best is not None
    try:
        verdicts = await judge_candidates(lookup, fresh_answer, judge=judge)
        verdict = verdicts.get(lookup.best.entry_id)
        if verdict and not verdict.is_wrong and asker is not None:
            await storing.confirm(lookup.scope.tenant_id, lookup.best.entry_id, asker=asker)
        if verdict and policy.learns:
            await evidence.add_label(lookup, verdicts, max_error_rate=policy.max_error_rate)
    except _FAILURES as error:
        note_failure("observe", error)
        return None
    for candidate in (lookup.best, *lookup.candidates):
        if (verdict := verdicts.get(candidate.entry_id)) and not verdict.is_wrong:
            return candidate.group
    return None


def can_teach(lookup: Lookup, *, policy: CachePolicy) -> bool:
    """Whether a fresh answer to this look-up's question would make a label, or confirm an entry."""
    return (
        (policy.learns or lookup.reason == "unconfirmed")
        and (not lookup.is_hit or lookup.label_weight > 1)
        and lookup.scope is not None
        and lookup.best is not None
        and lookup.best.similarity >= FLOOR
        and (lookup.comparison is not None or not lookup.best.differences)
    )


def asked_again(lookup: Lookup, *, policy: CachePolicy) -> Lookup | None:
    """The look-up of a question that is asked again only to test the judge; None if no entry has the same question."""
    same = (
        lookup.scope is not None and lookup.best is not None and lookup.best.question == lookup.scope.question
    )
    if not (same and policy.learns and can_teach(lookup, policy=policy)):
        return None
    return replace(lookup, reason=evidence.ASKED_AGAIN)


async def forget(tenant_id: int, entry_id: int) -> bool:
    """Remove one entry, for example after a complaint. Raises what the database raises, because the caller waits."""
    return await storing.delete(tenant_id, entry_id)


async def _given(embedder: TextEmbedder) -> TextEmbedder:
    return embedder


async def _look_up(
    body: Mapping[str, Any],
    origin: Origin,
    policy: CachePolicy,
    traits: Traits,
    asker: Asker | None,
    refresh: bool,
    find_embedder: Callable[[], Awaitable[TextEmbedder]],
    draw: Draw,
    fingerprint: Fingerprint | None,
) -> Lookup:
    if policy.semantic == "off":
        return Lookup(outcome="bypass", reason="off")
    scope = None
    try:
        embedder = await find_embedder()
        scope = scope_of(body, origin=origin, embedder=embedder.name, fingerprint=fingerprint)
        verdict = check_eligibility(scope.question, traits=traits, waived=policy.waived_rules)
        if not verdict.is_eligible:
            return Lookup(outcome="bypass", reason=verdict.reason)
        if embedder.truncates(scope.question):
            return Lookup(outcome="bypass", reason="too_long")
        vector = await vectors.for_request(embedder, scope.question, tenant_id=origin.tenant_id)
        scope = replace(scope, embedder=embedder.space_of(vector))
    except NotComparable as problem:
        return Lookup(outcome="bypass", reason=str(problem))
    except NO_VECTOR as error:
        log.debug("no vector", kind=type(error).__name__)
        return Lookup(outcome="bypass", reason="no_vector", scope=scope)
    if _is_resting(scope):
        return Lookup(outcome="miss", reason="scope_too_slow", scope=scope, vector=vector)
    try:
        with SEARCH.time():
            return await database.call(lambda: _search(scope, vector, policy, asker, refresh, draw))
    except Unavailable as unavailable:
        is_scope_slow = isinstance(unavailable.__cause__, QueryCanceled)
        if is_scope_slow:
            _rest_scope(scope)
        reason = "scope_too_slow" if is_scope_slow else "unavailable"
        return Lookup(outcome="miss", reason=reason, scope=scope, vector=vector)


async def _search(
    scope: AnswerScope, vector: Vector, policy: CachePolicy, asker: Asker | None, refresh: bool, draw: Draw
) -> Lookup:
    """One transaction: the neighbours, the verdict, and the answer if it is a hit."""
    async with tenant_connection(scope.tenant_id) as connection:
        neighbours, learnt = await search.nearest(connection, scope, vector)
        verdict = partial(
            decide,
            scope,
            policy=policy,
            learnt=learnt,
            weights=await weights_of(connection, scope, learnt) if policy.learns else None,
            refresh=refresh,
            draw=draw,
        )
        needed = policy.confirm_keys if policy.share in ("team", "tenant") else 1
        own = [near for near in neighbours if near.is_open_to(asker, confirmations=needed)]
        found = verdict(own)
        if found.outcome == "miss" and len(own) < len(neighbours):
            # The nearest entry is not confirmed for this asker: not served, but the fresh answer may confirm it.
            other = verdict(neighbours)
            is_only_unconfirmed = other.outcome in ("hit", "would_hit")
            found = replace(other, label_weight=1.0)
            if is_only_unconfirmed:
                found = replace(found, outcome="miss", reason="unconfirmed")
        answer = None
        if found.outcome == "hit" and found.entry_id is not None:
            try:
                answer = await search.answer_of(connection, scope, found.entry_id)
            except (EntryGone, UnreadableAnswer):
                return Lookup(outcome="miss", reason="gone", scope=scope, vector=vector)
    return replace(found, answer=answer, scope=scope, vector=vector)


# A scope whose search reached its time limit is not searched for a while: it must not slow down each of its requests.
# Other scopes are not affected.
_SCOPE_REST_SECONDS = 30.0
_MOST_RESTING = 1_000
_resting: dict[bytes, float] = {}


def _rest_scope(scope: AnswerScope) -> None:
    if len(_resting) >= _MOST_RESTING:
        _resting.clear()
    _resting[scope.digest] = time.monotonic() + _SCOPE_REST_SECONDS


def _is_resting(scope: AnswerScope) -> bool:
    until = _resting.get(scope.digest)
    return until is not None and time.monotonic() < until


def note_failure(step: str, error: Exception) -> None:
    """Count and log that a step in the background failed."""
    FAILURES.labels("pgvector", type(error).__name__).inc()
    log.warning("cache step failed", step=step, kind=type(error).__name__)
