"""Answers from memory: the exact cache, the semantic cache, and what is remembered for them.

Invariant: a cache in trouble is a miss; a hit costs nothing, is in the ledger with what it saved, and is never
served across a tenant, a scope or a changed prompt. Only complete answers are remembered.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import uuid_utils

from billing.ledger import settlements
from billing.ledger.settlements import CacheHit
from billing.prices.savings import EARNED, GATEWAY_CACHE
from caching.answers import CachedAnswer
from caching.eligibility import Traits
from caching.exact import flights
from caching.exact import store as exact
from caching.figures import scopes as scope_figures
from caching.scope import Asker, NotComparable, Origin, circle_of
from caching.semantic import cache as semantic
from caching.semantic.other_embedders import remember_for_others
from config import resources
from config.values import value_type
from llm.calls import asked
from llm.calls.call import Call
from llm.calls.dimensions import team_of
from llm.calls.settled_cost import SettledCost
from llm.routing.facts import AUTO
from llm.steps import hit_value, storing
from llm.steps.baseline import baseline_model, removed_input_tokens
from llm.steps.settled import Settled
from llm.wire import Body, stored_bytes
from tenants.patterns import is_found


@value_type
class Hit:
    """An answer from memory; `state` is `exact` or `semantic`."""

    answer: CachedAnswer
    state: str


async def find_exact(call: Call) -> Hit | None:
    """The answer to this very request, if it was given before or is about to be: then it is waited for."""
    why_not = (
        _why_not(call)
        or ("" if call.policy.cache.exact else "policy")
        or exact.why_not(call.body, max_temperature=call.policy.cache.max_temperature)
    )
    if why_not:
        call.receipt.note("exact_cache", "bypass", reason=why_not)
        return None
    call.exact_key = exact.key(call.body, origin=_origin(call), fingerprint=await call.read_fingerprint())
    call.cache_state = "miss"
    if call.headers.cache == "refresh":
        call.receipt.note("exact_cache", "refresh", key=call.exact_key.name)
        return None
    patience = call.policy.cache.single_flight_seconds if call.joins_flights else 0.0
    found = await flights.find(call.exact_key, timeout_seconds=patience)
    if isinstance(found, flights.Flight):
        call.flight = found
    hit = isinstance(found, CachedAnswer) and _may_serve(call, found, "exact_cache") and Hit(found, "exact")
    call.receipt.note("exact_cache", "hit" if hit else "miss", key=call.exact_key.name)
    return hit or None


async def find_similar(call: Call) -> Hit | None:
    """An answer to a question of the same meaning in the same scope, as far as the tenant's policy goes."""
    if reason := _why_not_similar(call):
        call.receipt.note("semantic_cache", "bypass", reason=reason)
        return None
    found = await _look_up(call, refresh=call.headers.cache == "refresh")
    call.lookup = found
    call.receipt.note("semantic_cache", **found.to_receipt(show_questions=call.policy.log_prompts))
    if found.outcome != "bypass":
        call.cache_state = "miss"
        call.similarity = found.similarity
    if not found.is_hit or found.answer is None or call.headers.cache == "refresh":
        return None
    if not _may_serve(call, found.answer, "semantic_cache"):
        return None
    semantic.mark_hit(found)
    return Hit(found.answer, "semantic")


async def find_same(call: Call) -> semantic.Lookup | None:
    """The look-up of a question that the exact cache has just answered, where its answer is kept for the semantic one
    too: asked upstream again it shows how well answers are compared."""
    if _why_not_similar(call):
        return None
    return semantic.asked_again(await _look_up(call, refresh=True), policy=call.policy.cache)


async def _look_up(call: Call, *, refresh: bool) -> semantic.Lookup:
    facts = call.facts
    if call.policy.cache.semantic == "off":
        return semantic.bypass(call.principal.tenant_id, "off")
    return await semantic.look_up(
        call.body,
        origin=_origin(call),
        policy=call.policy.cache,
        traits=Traits(
            temperature=facts.temperature,
            max_temperature=call.policy.cache.max_temperature,
            n=facts.n,
            has_tools=facts.has_tools,
            has_images=facts.has_images,
            has_audio=facts.has_audio,
        ),
        asker=_asker(call),
        refresh=refresh,
        find_embedder=call.find_embedder,
        fingerprint=await call.read_fingerprint(),
    )


async def serve(call: Call, hit: Hit) -> Settled:
    """Write the hit into the ledger: the answer from memory, to be given whole or as a stream. With a `hit_id` it may be served
    again: it is booked once."""
    call.cache_state = hit.state
    if hit.state == "exact":
        call.similarity = 1.0
        asked.note(call, expires_at=hit.answer.stored_at + timedelta(seconds=call.policy.cache.ttl_seconds))
    call.receipt.note("served", hit.state, **_why(call, hit))
    value = hit_value.of(call, hit.answer)
    if hit.state == "semantic" and call.lookup is not None and call.lookup.scope is not None:
        scope_figures.note_hit(
            call.principal.tenant_id, call.lookup.scope.digest, saved_usd=value.saving[GATEWAY_CACHE]
        )
    call.balances = await settlements.record_hit(
        CacheHit(
            id=call.hit_id or UUID(bytes=uuid_utils.uuid7().bytes),
            request_id=call.request_id,
            tenant_id=call.principal.tenant_id,
            key_id=call.principal.key_id,
            occurred_at=call.received_at,
            user=call.user,
            feature=call.headers.feature,
            dims=call.ledger_dims() | ({"reason": EARNED} if _is_earned(call, hit.answer) else {}),
            provider=hit.answer.provider,
            model=hit.answer.model,
            cache_state=hit.state,
            saving=value.saving,
            input_tokens=value.input_tokens,
            output_tokens=value.output_tokens,
            windows=call.windows(model=hit.answer.model, provider=hit.answer.provider),
        )
    )
    outcome = SettledCost(
        model=hit.answer.model,
        provider=hit.answer.provider,
        list_cost_usd=value.list_cost_usd,
        saving=value.saving,
    )
    answer = storing.with_new_id(call, hit.answer.body)

    def chunks(block: Body) -> Iterable[bytes]:
        if call.facts.stream:
            return call.wire.replay(answer, block, wants_usage=call.facts.wants_usage)
        return (stored_bytes(call.wire, answer, block),)

    return Settled(answer, outcome, chunks)


def _is_earned(call: Call, answer: CachedAnswer) -> bool:
    """Whether the answer is there only because it was bought ahead of time."""
    return answer.earns_from is not None and call.received_at >= answer.earns_from


def may_serve(call: Call, hit: Hit) -> bool:
    """Whether an answer that was found elsewhere may be given to the call."""
    return _may_serve(call, hit.answer, "exact_cache" if hit.state == "exact" else "semantic_cache")


def _why(call: Call, hit: Hit) -> dict[str, Any]:
    """Why this was a hit: whose answer it is, how old, and what let it pass."""
    found = call.lookup if hit.state == "semantic" else None
    return {
        "answer_of_request": hit.answer.request_id,
        "answered_at": hit.answer.stored_at,
        "model": hit.answer.model,
        "refreshed_ahead_of_time": _is_earned(call, hit.answer) or None,
        "similarity": call.similarity,
        "entry_id": found.entry_id if found else None,
        "threshold": found.threshold if found else None,
    }


def remember_soon(call: Call, settled: Settled) -> None:
    """Remember an answer in the background, if it may be."""
    if (answer := _to_remember(call, settled)) is not None:
        call.is_remembering = True
        resources.background(_remember(call, answer))


async def remember_late(call: Call, answer: CachedAnswer) -> None:
    """Remember an answer that came long after its call was looked up; its exact key is known."""
    if not _why_not_similar(call):
        call.lookup = await _look_up(call, refresh=True)
    await _remember(call, answer)


def _to_remember(call: Call, settled: Settled) -> CachedAnswer | None:
    """The answer as the caches keep it; None if it is not complete or must not be kept."""
    answer, outcome, attempt = settled.answer, settled.outcome, settled.attempt
    if attempt is None or answer is None or not settled.is_exact:
        return None
    if call.route and call.route.tier_without_pressure:
        return None  # a smaller model's answer, given under budget pressure: it must not outlive the pressure
    if (
        call.structured == "invalid"
        or call.headers.cache == "off"
        or not (call.exact_key or call.lookup)
        or not call.wire.is_complete(answer)
    ):
        return None
    return CachedAnswer(
        body=answer,
        endpoint=call.endpoint,
        model=attempt.target.model,
        provider=attempt.target.provider,
        tier=attempt.target.tier,
        usage=dict(outcome.meters),
        text=call.wire.answer_text(answer),
        cost_usd=outcome.cost_usd,
        list_cost_usd=outcome.own_list_cost_usd,
        baseline_model=baseline_model(call),
        removed_input_tokens=removed_input_tokens(call),
        request_id=call.id_text,
    )


async def _remember(call: Call, answer: CachedAnswer) -> None:
    """Keep a complete answer for both caches, and learn from it what the semantic cache would have said."""
    policy = call.policy.cache
    if call.flight is not None:
        await call.flight.keep(answer, ttl_seconds=policy.ttl_seconds)
    elif call.exact_key is not None:
        await exact.put(call.exact_key, answer, ttl_seconds=policy.ttl_seconds)
    if call.lookup is not None and call.lookup.scope is not None:
        asker = _asker(call)
        group = await semantic.observe(call.lookup, answer.text, policy=policy, asker=asker, judge=call.judge)
        await semantic.remember(call.lookup, answer, policy=policy, asker=asker, group=group)
        await remember_for_others(
            call.lookup, answer, policy=policy, asker=asker, find_embedder=call.find_embedder
        )


def _may_serve(call: Call, answer: CachedAnswer, cache: str) -> bool:
    """Whether the key may use the model that answered: another key's call may have fallen back to one it may not."""
    if call.principal.may_use(answer.model):
        return True
    call.receipt.note(cache, "passed over", reason="model_not_allowed", model=answer.model)
    return False


def _why_not(call: Call) -> str:
    """Why no cache may answer or remember this call; empty when they may."""
    if call.no_cache is None:
        call.no_cache = _look_why_not(call)
    return call.no_cache


def _look_why_not(call: Call) -> str:
    if call.headers.cache == "off":
        return "header"
    if call.facts.is_continued:
        return "continued"  # what the provider keeps may have changed since
    if is_found(call.policy.cache.bypass_patterns, call.facts.last_user_text):
        return "tenant_pattern"
    try:
        _circle(call)
    except NotComparable as reason:
        return str(reason)
    return ""


def _why_not_similar(call: Call) -> str:
    """Why the semantic cache may not; empty when it may."""
    if reason := _why_not(call):
        return reason
    if call.headers.cache == "exact":
        return "header"
    return "" if call.wire.is_chat else "not_chat"


def _origin(call: Call) -> Origin:
    return Origin(
        tenant_id=call.principal.tenant_id,
        circle=_circle(call),
        endpoint=call.endpoint,
        route="/".join(_route(call)),
        prompt_version=call.headers.prompt_version,
        epoch=call.snapshot.epoch,
        features="\n".join(f"{name}: {value}" for name, value in sorted(call.passed_on.items())),
    )


def _route(call: Call) -> Iterator[str]:
    """What was asked for and steers the choice of the model; of `auto` also what the key may use."""
    yield from (call.facts.model, call.headers.tier, _wanted_compression(call))
    if call.facts.model.partition(":")[0] == AUTO and (models := call.principal.models.digest):
        yield models


def _asker(call: Call) -> Asker:
    return Asker(call.principal.key_id, call.user)


def _circle(call: Call) -> str:
    """With whom the call shares answers; a user's team is the cost centre. Raises NotComparable."""
    return circle_of(
        call.policy.cache.share,
        user=call.user,
        key_id=call.principal.key_id,
        team=team_of(call.snapshot.tenant, call.user),
    )


def _wanted_compression(call: Call) -> str:
    """The caller's own word on compression: it changes the prompt, so it is part of the key."""
    return {None: "", True: "compressed", False: "whole"}[call.headers.compress]
