"""What becomes of a batch's lines, before any is held: answered from memory, led by an equal line, or sent.

Invariant: a line is planned once, by the steps that every call passes (`pipeline.prepare`), and what it was planned to is
written down before money is held or booked for it. So planning may be repeated after a kill at any point, a chunk at a time.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from django.utils import timezone

from billing.errors import LedgerUnavailable
from config import resources
from llm import pipeline
from llm.batches.logs import log_lines
from llm.batches.plans.accounts import Accounts
from llm.batches.plans.calls import call_of
from llm.batches.plans.remembered import facts_of
from llm.batches.plans.writing import plain, save_items
from llm.calls.call import Call
from llm.calls.dimensions import require_tags
from llm.catalog.snapshot import TenantSnapshot
from llm.models import Batch, BatchItem
from llm.providers.target import Target
from llm.steps import choosing
from llm.steps.baseline import baseline_model
from llm.steps.memory import Hit
from tenants.errors import ClientError

CHUNK: Final = 200  # lines planned at a time

Status = BatchItem.Status
_PLANNED: Final = (
    *("model", "provider", "lane", "status", "leader_id", "exact_key", "plan", "sent_body", "remembered"),
    *("response", "error", "settled_at"),
)


def plan_chunk(batch: Batch, *, snapshot: TenantSnapshot) -> bool:
    """Plan the next lines of a batch; whether there were any."""
    pending = batch.items.filter(status=Status.PENDING, settled_at=None).order_by("line")
    items = list(pending[:CHUNK])
    if not items:
        return False
    calls = [call_of(item, batch, snapshot=snapshot, is_planned=False) for item in items]
    found = resources.run(lambda: _prepare_all(calls))
    accounts = Accounts.of(batch, snapshot=snapshot)
    for item, call, outcome in zip(items, calls, found, strict=True):
        _plan(item, call, outcome, accounts=accounts)
    _lead(batch, items)
    save_items(items, _PLANNED)
    log_lines(batch, [item for item in items if item.settled_at is not None])
    return True


async def _prepare_all(calls: Sequence[Call]) -> list[Hit | list[Target] | ClientError]:
    return await asyncio.gather(*map(_prepare, calls))


async def _prepare(call: Call) -> Hit | list[Target] | ClientError:
    """What the pipeline makes of a line; the refusal that any repetition would meet again."""
    try:
        choosing.check_user(call)
        choosing.check_model(call)
        choosing.check_length(call)
        require_tags(call.snapshot, call.allocation)  # also of what is answered from memory
        return await pipeline.prepare(call)
    except LedgerUnavailable:
        raise
    except ClientError as refusal:
        return refusal


def _plan(
    item: BatchItem, call: Call, outcome: Hit | list[Target] | ClientError, *, accounts: Accounts
) -> None:
    item.plan = plain(_plan_of(call))
    if isinstance(outcome, ClientError):
        item.status, item.settled_at = Status.FAILED, timezone.now()
        item.error = plain({"status": outcome.status, "code": outcome.code, "message": outcome.message})
        return
    item.exact_key = call.exact_key.name if call.exact_key else ""
    if isinstance(outcome, Hit):
        item.status, item.model, item.provider = (
            Status.REMEMBERED,
            outcome.answer.model,
            outcome.answer.provider,
        )
        item.remembered = facts_of(outcome.answer, state=outcome.state, similarity=call.similarity)
        item.response = outcome.answer.body
        return
    item.status = Status.PLANNED
    item.sent_body = call.body if call.body is not item.body else None
    account = accounts.choose(outcome[0])
    item.model, item.provider, item.lane = account.target.model, account.target.provider, account.lane


def _plan_of(call: Call) -> dict[str, Any]:
    """What is known of a call when it goes out, that its bill and its receipt need when it is answered."""
    route = call.route
    return {
        "tier": route.tier if route else "",
        "reason": route.reason if route else "",
        "fallbacks": [target.model for target in route.fallbacks] if route else [],
        "baseline_model": baseline_model(call),
        "is_under_pressure": bool(route and route.tier_without_pressure),
        "tokens_before": call.tokens_before_compression,
        "tokens_after": call.tokens_after_compression,
        "steps": call.receipt.steps,
    }


def _lead(batch: Batch, items: Sequence[BatchItem]) -> None:
    """Let the first of equal lines go out, and the others wait for its answer."""
    keys = {item.exact_key for item in items if item.status == Status.PLANNED and item.exact_key}
    going = [Status.PLANNED, Status.HELD, Status.SUBMITTED]
    known = batch.items.filter(leader=None, exact_key__in=keys, status__in=going)
    leaders = {item.exact_key: item for item in known.only("exact_key", "model", "provider", "lane")}
    for item in items:
        if item.status != Status.PLANNED or not item.exact_key:
            continue
        leader = leaders.setdefault(item.exact_key, item)
        if leader is not item:
            item.status, item.leader, item.sent_body = Status.WAITING, leader, None
            item.model, item.provider, item.lane = leader.model, leader.provider, leader.lane
