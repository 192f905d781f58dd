"""Checks of semantic hits: a share of them is asked upstream all the same, to learn how often a hit is wrong.

Invariant: a check begins after its hit was answered and nobody waits for it; it is a call of its own, held and settled
like any other, with the cache state `check` in log and ledger and its cost taken off what the cache has saved. No tenant
pays more for checks on a day than its policy says, as far as Redis knows; without Redis there are none.
"""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import orjson
import structlog
import uuid_utils
from redis.exceptions import RedisError

from billing.outcomes import ModelUnpriced
from caching import scope_figures
from caching.metrics import CHECKS
from config import resources
from llm import attempts, choosing, ending
from llm.call import Call
from llm.catalog import Target
from llm.wire import Source
from tenants.outcomes import ClientError

STATE = "check"
# In each process: a burst of hits must not become a burst of calls.
MOST_AT_ONCE = 4
_STREAMING = ("stream", "stream_options")
_HAVE_TIERS = ("openai.chat", "openai.responses")
_SECONDS_KEPT = 2 * 86_400
_NANO = 10**9

_under_way: set[UUID] = set()
log = structlog.get_logger("purser.cache")


def check_soon(call: Call) -> None:
    """Ask upstream what a hit was served for, if it was drawn for that. What comes is compared, and remembered."""
    found = call.lookup
    if found is None or not found.is_hit or found.label_weight <= 1:
        return
    if len(_under_way) >= MOST_AT_ONCE:
        CHECKS.labels("busy").inc()
        return
    _under_way.add(call.request_id)
    resources.background(_check(call))


async def _check(hit: Call) -> None:
    try:
        if not await _may_spend(hit):
            CHECKS.labels("budget").inc()
            return
        call = _call_of(hit)
        await _ask(call)
        cost_usd = sum((outcome.cost_usd for outcome in call.booked), Decimal(0))
        if hit.lookup is not None and hit.lookup.scope is not None:
            scope_figures.note_check(hit.principal.tenant_id, hit.lookup.scope.digest, cost_usd=cost_usd)
        await _note_spent(hit, cost_usd)
        CHECKS.labels("asked").inc()
    finally:
        _under_way.discard(hit.request_id)


async def _ask(call: Call) -> None:
    try:
        targets = await choosing.choose(call)
        _take_cheaper_tier(call, targets[0])
        choosing.compress(call)
        await attempts.first_success(call, targets)
    except ClientError as error:
        await ending.refused(call, error)
    except Exception:
        log.exception("a check of a cache hit failed")
        await ending.failed(call)


def _call_of(hit: Call) -> Call:
    """The call that would have been made had there been no hit: whole, not streamed, and on no user's account."""
    body = {name: value for name, value in hit.body.items() if name not in _STREAMING}
    call = Call(
        request_id=UUID(bytes=uuid_utils.uuid7().bytes),
        received_at=datetime.now(UTC),
        endpoint=hit.endpoint,
        wire=hit.wire,
        source=Source(orjson.dumps(body), body),
        body=body,
        facts=replace(hit.wire.facts(body), user=""),
        headers=replace(hit.headers, user="", idempotency_key=""),
        passed_on=hit.passed_on,
        principal=hit.principal,
        snapshot=hit.snapshot,
        cache_state=STATE,
        exact_key=hit.exact_key,
        lookup=hit.lookup,
    )
    call.receipt.note(STATE, "asked", hit_of_request=str(hit.request_id))
    return call


def _take_cheaper_tier(call: Call, target: Target) -> None:
    """Nobody waits for a check: where the model has a price for flex processing, which is that of batches, take it."""
    if target.kind != "openai" or call.wire.api not in _HAVE_TIERS or call.facts.service_tier:
        return
    try:
        call.snapshot.prices.rates(target.provider, target.model, at=call.received_at, processing="flex")
    except ModelUnpriced:
        return
    call.body = {**call.body, "service_tier": "flex"}
    call.source = Source(orjson.dumps(call.body), call.body)
    call.facts = replace(call.facts, service_tier="flex")


async def _may_spend(hit: Call) -> bool:
    limit = hit.policy.cache.check_usd_per_day
    if limit <= 0:
        return False
    try:
        spent = await resources.redis.get(_spent_key(hit))
    except (RedisError, OSError):
        return False
    return int(spent or 0) < limit * _NANO


async def _note_spent(hit: Call, cost_usd: Decimal) -> None:
    key = _spent_key(hit)
    try:
        async with resources.redis.pipeline() as pipeline:
            pipeline.incrby(key, int(cost_usd * _NANO))
            pipeline.expire(key, _SECONDS_KEPT)
            await pipeline.execute()
    except (RedisError, OSError) as error:
        log.warning("the cost of a check is not counted", kind=type(error).__name__)


def _spent_key(hit: Call) -> str:
    return f"purser:{{t{hit.principal.tenant_id}}}:checks:{datetime.now(UTC):%Y-%m-%d}"
