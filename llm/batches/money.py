"""The money of a batch: each line held before it is sent, billed once when it is answered, given back when it
is not.

Invariant: lines are named to the ledger by the ids of their attempts, which were written down first, so
everything here may be repeated; a line's status follows the ledger and never runs ahead of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.utils import timezone

from billing import holds, ledger
from billing.budgets import Dimensions, windows_for
from billing.estimates import hold_for
from billing.holds import NewAttempt
from billing.outcomes import BudgetExceeded
from config.resources import resources
from llm.batches.accounts import exchange_of, line_limit, target_of
from llm.batches.billed import Billed, bill
from llm.batches.lines import wire_of
from llm.batches.logs import log_lines
from llm.batches.upstream import LineResult
from llm.catalog import Target
from llm.loading import load_snapshot
from llm.models import Batch, BatchItem, BatchJob
from llm.snapshot import TenantSnapshot
from llm.token_counts import count_input

T = TypeVar("T")

HOLD_OUTLIVES_BATCH: Final = timedelta(hours=48)  # by then every job was given up
FRAMING_MARGIN_TOKENS: Final = 16


def hold(batch: Batch, items: Sequence[BatchItem], *, snapshot: TenantSnapshot) -> None:
    """Hold lines against every budget that applies, at the price in batches; raises BudgetExceeded for the
    first refused."""
    attempts = [_reservation(batch, item, snapshot=snapshot) for item in items]

    async def admit_all() -> list[Any]:
        return await asyncio.gather(*(holds.admit(attempt) for attempt in attempts), return_exceptions=True)

    outcomes = _run(admit_all)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    refusals = [failure for failure in failures if isinstance(failure, BudgetExceeded)]
    for failure in (*[one for one in failures if one not in refusals], *refusals):
        raise failure  # anything but a refusal is no answer: the next drive holds again


def mark_sent(job: BatchJob) -> None:
    """Say that a job's lines may reach the provider from now on: a hold that expires is then owed, not given
    back."""
    attempts = list(job.items.filter(settled_at=None).values_list("attempt_id", flat=True))
    expires_at = job.batch.expires_at + HOLD_OUTLIVES_BATCH
    _run(lambda: holds.mark_sent(attempts, expires_at=expires_at))


def settle(job: BatchJob, pairs: Sequence[tuple[BatchItem, LineResult]]) -> None:
    """Bill the answered lines and give back the holds of the failed ones."""
    answered = [(item, result) for item, result in pairs if result.answer is not None]
    failed = [(item, result) for item, result in pairs if result.answer is None]
    release([item for item, _ in failed], reason="provider_error")
    snapshot = load_snapshot(job.tenant_id)
    target = target_of(job)
    billed = [_bill(item, result, job=job, target=target, snapshot=snapshot) for item, result in answered]

    async def settle_all() -> list[Any]:
        return await asyncio.gather(*(ledger.settle(one.settlement) for one in billed))

    if billed:
        _run(settle_all)
    _write_down(job, [(item, one) for (item, _), one in zip(answered, billed, strict=True)], failed)


def release(items: Sequence[BatchItem], *, reason: str) -> None:
    """Give holds back; a line that was never held, or ended already, is left alone."""

    async def void_all() -> list[Any]:
        return await asyncio.gather(*(ledger.void(item.attempt_id, reason=reason) for item in items))

    if items:
        _run(void_all)


def _reservation(batch: Batch, item: BatchItem, *, snapshot: TenantSnapshot) -> NewAttempt:
    target = snapshot.catalog.find(item.model)
    wire = wire_of(batch.endpoint)
    facts = wire.facts(item.body)
    at = batch.created_at
    rates = snapshot.prices.rates(target.provider, target.model, at=at, processing="batch")
    input_tokens = count_input(wire, item.body, target.model) + FRAMING_MARGIN_TOKENS
    is_chat = target.model_kind == "chat"
    limit = line_limit(item, batch.endpoint, target=target, policy=snapshot.policy) if is_chat else 0
    user = batch.user or facts.user
    known = snapshot.tenant.users.get(user)
    cost_center = known.cost_center if known else ""
    project = batch.tags.get("project", "")
    key_name = next((key.name for key in snapshot.tenant.keys.values() if key.id == batch.key_id), "")
    dimensions = Dimensions(
        user=user,
        key=key_name,
        feature=batch.feature,
        project=project,
        cost_center=cost_center,
        model=target.model,
        provider=target.provider,
    )
    return NewAttempt(
        id=item.attempt_id,
        tenant_id=batch.tenant_id,
        request_id=item.request_id,
        attempt_no=1,
        key_id=batch.key_id,
        user=user,
        feature=batch.feature,
        provider=target.provider,
        model=target.model,
        processing="batch",
        occurred_at=at,
        hold_usd=hold_for(rates, input_tokens=input_tokens, max_output_tokens=limit, n=facts.n),
        hold_tokens=input_tokens + limit * facts.n,
        windows=windows_for(snapshot.budgets, dimensions, at=at, timezone=snapshot.tenant.timezone),
        timezone=snapshot.tenant.timezone,
        expires_at=batch.expires_at + HOLD_OUTLIVES_BATCH,
        dims={
            "endpoint": batch.endpoint,
            "model_asked": item.model,
            "project": project,
            "cost_center": cost_center,
            "tags": dict(batch.tags),
            "tier": target.tier,
            "cache_state": "bypass",
        },
    )


def _bill(
    item: BatchItem, result: LineResult, *, job: BatchJob, target: Target, snapshot: TenantSnapshot
) -> Billed:
    exchange = exchange_of(item, job=job, target=target, policy=snapshot.policy)
    assert result.answer is not None
    return bill(item, result.answer, batch=job.batch, target=target, exchange=exchange, snapshot=snapshot)


def _write_down(
    job: BatchJob,
    answered: Sequence[tuple[BatchItem, Billed]],
    failed: Sequence[tuple[BatchItem, LineResult]],
) -> None:
    """Follow the ledger: what each line came to, its answer or its error."""
    now = timezone.now()
    for item, one in answered:
        item.status, item.response, item.settled_at = BatchItem.Status.COMPLETED, one.answer, now
        item.cost_usd, item.list_cost_usd = one.cost_usd, one.list_cost_usd
        item.input_tokens, item.output_tokens = one.input_tokens, one.output_tokens
    for item, result in failed:
        status = BatchItem.Status.FAILED
        error = dict(result.error or {})
        if error.get("code") in {"batch_expired", "batch_cancelled"}:
            is_cancelled = error["code"] == "batch_cancelled" and job.batch.cancelling_at is not None
            status = BatchItem.Status.CANCELLED if is_cancelled else BatchItem.Status.EXPIRED
            told = {"code": error["code"], "message": error.get("message")}
        else:
            told = {
                "status": result.status,
                "code": error.get("code") or "provider_error",
                "message": error.get("message") or "The provider gave no reason.",
            }
        item.status, item.error, item.settled_at = status, told, now
    items = [item for item, _ in (*answered, *failed)]
    BatchItem.objects.bulk_update(
        items,
        [
            "status",
            "response",
            "error",
            "settled_at",
            "cost_usd",
            "list_cost_usd",
            "input_tokens",
            "output_tokens",
        ],
        batch_size=100,
    )
    log_lines(job.batch, items)


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """Run the ledger's own async functions from a worker: one loop, one pool, closed again."""

    async def main() -> T:
        async with resources():
            return await work()

    return asyncio.run(main())
