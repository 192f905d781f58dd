"""Checks of hits: for a share of them the provider is asked as well. Checks of semantic hits show how often a hit is wrong;
checks of exact hits, where a judge compares the answers, show how often the judge is.

Invariant: a check begins after its hit was answered and no client waits for it; it is an own call (`own_calls`), with
the cache state `check`.
"""

import random
from dataclasses import replace
from uuid import UUID

import orjson
import structlog

from billing.errors import ModelUnpriced
from caching.figures import scopes as scope_figures
from caching.metrics import CHECKS
from caching.semantic.cache import Lookup
from config import resources
from llm import pipeline
from llm.calls import own_calls
from llm.calls.call import Call
from llm.calls.own_calls import DailyBudget
from llm.providers.target import Target
from llm.steps import choosing, memory
from llm.wire import Source
from tenants.errors import ClientError

STATE = "check"
# In each process: a burst of hits must not become a burst of calls.
MOST_AT_ONCE = 4
# Of exact hits: two right answers to one question, so the judge's verdicts on them show how well it judges.
REPEATED_SHARE = 0.01
_STREAMING = ("stream", "stream_options")

_under_way: set[UUID] = set()
log = structlog.get_logger("purser.cache")


def check_soon(call: Call) -> None:
    """Ask upstream what a hit was served for, if it was drawn for that. What comes is compared, and remembered."""
    if not _is_drawn(call):
        return
    if len(_under_way) >= MOST_AT_ONCE:
        CHECKS.labels("busy").inc()
        return
    _under_way.add(call.request_id)
    resources.background(_check(call))


def _is_drawn(hit: Call) -> bool:
    if hit.lookup is not None:
        return hit.lookup.is_hit and hit.lookup.label_weight > 1
    return hit.judge is not None and hit.policy.cache.learns and random.random() < REPEATED_SHARE


async def _check(hit: Call) -> None:
    daily_budget = DailyBudget("checks", hit.principal.tenant_id, hit.policy.cache.check_usd_per_day)
    try:
        if not await daily_budget.may_spend():
            CHECKS.labels("budget").inc()
            return
        lookup = hit.lookup or await memory.find_same(hit)
        if lookup is None or lookup.scope is None:
            CHECKS.labels("nothing_to_compare").inc()
            return
        call = _call_of(hit, lookup)
        await _ask(call)
        cost_usd = own_calls.cost_of(call)
        scope_figures.note_check(hit.principal.tenant_id, lookup.scope.digest, cost_usd=cost_usd)
        await daily_budget.note(cost_usd)
        CHECKS.labels("asked").inc()
    finally:
        _under_way.discard(hit.request_id)


async def _ask(call: Call) -> None:
    try:
        await pipeline.answer_ourselves(call, _targets)
    except ClientError:
        return  # its log and ledger say so
    except Exception:
        log.exception("a check of a cache hit failed")


async def _targets(call: Call) -> list[Target]:
    targets = await choosing.choose(call)
    _take_cheaper_tier(call, targets[0])
    await choosing.compress(call)
    return targets


def _call_of(hit: Call, lookup: Lookup) -> Call:
    """The call that would have been made had there been no hit: whole, not streamed, and on no user's account."""
    call = own_calls.own_call(
        state=STATE,
        endpoint=hit.endpoint,
        wire=hit.wire,
        body={name: value for name, value in hit.body.items() if name not in _STREAMING},
        principal=hit.principal,
        snapshot=hit.snapshot,
        headers=hit.headers,
        passed_on=hit.passed_on,
        exact_key=hit.exact_key,
        lookup=lookup,
        learner=hit.learner,
    )
    call.receipt.note(STATE, "asked", hit_of_request=str(hit.request_id))
    return call


def _take_cheaper_tier(call: Call, target: Target) -> None:
    """No client waits for a check: where the model has a price for flex processing, which is that of batches, take it."""
    has_flex = target.speaks(call.wire.api) and call.wire.api in target.kind.flex
    if not has_flex or call.facts.service_tier:
        return
    try:
        call.snapshot.prices.rates(target.provider, target.model, at=call.received_at, processing="flex")
    except ModelUnpriced:
        return
    call.body = {**call.body, "service_tier": "flex"}
    call.source = Source(orjson.dumps(call.body), call.body)
    call.facts = replace(call.facts, service_tier="flex")
