"""Answers that no provider is asked for: from memory, and of the equal line that was sent.

Invariant: such an answer is written down before it is booked, and is booked once, by the id of its line's attempt; only when the
ledger has it is the line over.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from billing.models import UsageRecord
from caching.answers import CachedAnswer
from config import resources
from llm.batches.logs import log_lines
from llm.batches.plans.calls import call_of
from llm.batches.plans.writing import plain, save_items
from llm.calls.answers import purser_block
from llm.catalog.loading import load_snapshot
from llm.models import Batch, BatchItem
from llm.steps import memory
from llm.steps.memory import Hit
from llm.steps.settled import Settled

CHUNK: Final = 200  # lines booked at a time

Status = BatchItem.Status
_OVER: Final = ("status", "response", "error", "remembered", "plan", "settled_at", "list_cost_usd")
_FOLLOWED: Final = ("status", "response", "error", "remembered", "settled_at", "model", "provider")


def facts_of(answer: CachedAnswer, *, state: str = "exact", similarity: float | None = 1.0) -> dict[str, Any]:
    """A remembered answer without its body, as a line keeps it: what its booking needs."""
    return {
        "state": state,
        "similarity": similarity,
        "model": answer.model,
        "provider": answer.provider,
        "tier": answer.tier,
        "usage": answer.usage,
        "list_cost_usd": str(answer.list_cost_usd),
        "baseline_model": answer.baseline_model,
        "removed_input_tokens": answer.removed_input_tokens,
        "request_id": answer.request_id,
        "stored_at": answer.stored_at.isoformat(),
    }


def follow(batch: Batch) -> bool:
    """Give the next lines that wait the answer of their leader, or its failure; whether there may be more."""
    waiting = batch.items.filter(status=Status.WAITING, settled_at=None, leader__settled_at__isnull=False)
    items = list(waiting.select_related("leader").order_by("line")[:CHUNK])
    for item in items:
        _follow(item)
    save_items(items, _FOLLOWED)
    log_lines(batch, [item for item in items if item.settled_at is not None])
    return len(items) == CHUNK


def book(batch: Batch) -> bool:
    """Book the next answers from memory; whether there may be more. What the ledger does not confirm is booked again later."""
    items = list(batch.items.filter(status=Status.REMEMBERED, settled_at=None).order_by("line")[:CHUNK])
    if not items:
        return False
    snapshot = load_snapshot(batch.tenant_id)
    calls = [call_of(item, batch, snapshot=snapshot, is_planned=False) for item in items]

    async def serve_all() -> list[Settled]:
        served = (memory.serve(call, _hit_of(item, batch)) for item, call in zip(items, calls, strict=True))
        return await asyncio.gather(*served)

    settled = resources.run(serve_all)
    booked = _booked(batch, [item.attempt_id for item in items])
    now = timezone.now()
    over = []
    for item, call, given in zip(items, calls, settled, strict=True):
        if item.attempt_id not in booked:
            continue
        facts = item.remembered or {}
        call.similarity = facts.get("similarity")
        block = purser_block(call, given.outcome) | {"processing": None}
        item.response = call.wire.with_purser(given.answer or {}, block)
        item.status, item.settled_at = Status.COMPLETED, now
        item.list_cost_usd = given.outcome.list_cost_usd
        item.plan = {**item.plan, "cache_state": call.cache_state, "similarity": call.similarity}
        item.plan["steps"] = [*item.plan.get("steps", []), *plain(call.receipt.steps)]
        item.remembered = None
        over.append(item)
    save_items(over, _OVER)
    log_lines(batch, over)
    return len(items) == CHUNK and len(over) == len(items)


def _follow(item: BatchItem) -> None:
    leader = item.leader
    assert leader is not None
    if leader.status == Status.COMPLETED and leader.remembered is not None and leader.response is not None:
        item.status, item.remembered = Status.REMEMBERED, leader.remembered
        item.response = {name: value for name, value in leader.response.items() if name != "purser"}
        item.model, item.provider = leader.model, leader.provider
        return
    item.status, item.error, item.settled_at = leader.status, leader.error, timezone.now()


def _hit_of(item: BatchItem, batch: Batch) -> Hit:
    facts = item.remembered or {}
    answer = CachedAnswer(
        body=item.response or {},
        endpoint=batch.endpoint,
        model=facts["model"],
        provider=facts["provider"],
        tier=facts["tier"],
        usage=facts["usage"],
        list_cost_usd=Decimal(facts["list_cost_usd"]),
        baseline_model=facts["baseline_model"],
        removed_input_tokens=facts["removed_input_tokens"],
        request_id=facts["request_id"],
        stored_at=datetime.fromisoformat(facts["stored_at"]),
    )
    return Hit(answer, facts["state"])


def _booked(batch: Batch, ids: Sequence[UUID]) -> Collection[UUID]:
    """Those that the ledger has."""
    rows = UsageRecord.objects.filter(pk__in=ids, tenant_id=batch.tenant_id, occurred_at=batch.created_at)
    return set(rows.values_list("pk", flat=True))
