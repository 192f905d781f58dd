"""The money of a batch: each line held before it is sent, billed once when it is answered, given back when it
is not.

Invariant: lines are named to the ledger by the ids of their attempts, which were written down first, so
everything here may be repeated; a line's status follows the ledger and is never ahead of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from django.utils import timezone

from billing.budgets.balances import BudgetExceeded
from billing.budgets.windows import windows_for
from billing.estimates.costs import INPUT_METERS, hold_for
from billing.ledger import holds, settlements
from billing.ledger.holds import NewAttempt
from billing.ledger.waiting import hold_again
from billing.models import Attempt
from billing.usage.served import contexts
from config.database import storable
from config.resources import resources
from llm.batches.accounts import exchange_of, line_limit, target_of
from llm.batches.billed import Billed, bill
from llm.batches.lines import wire_of
from llm.batches.logs import log_lines
from llm.calls.dimensions import dimensions_of, ledger_dims
from llm.catalog.loading import load_snapshot
from llm.catalog.snapshot import TenantSnapshot
from llm.models import Batch, BatchItem, BatchJob
from llm.providers.kinds.batch_api import LineResult
from llm.providers.target import Target
from llm.steps.booking import Held
from llm.tokens.estimating import estimate_exchange
from llm.wire import prepare
from tenants.known_users import check_user

T = TypeVar("T")

HOLD_OUTLIVES_BATCH: Final = timedelta(hours=48)  # by then every job was given up


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
    """Say that a job's lines may reach the provider from now on: a hold that expires is then owed, not given back."""
    attempts = list(job.items.filter(settled_at=None).values_list("attempt_id", flat=True))
    _run(lambda: holds.mark_sent(attempts, ttl_seconds=_seconds_held(job.batch)))


def settle(job: BatchJob, pairs: Sequence[tuple[BatchItem, LineResult]]) -> bool:
    """Bill the answered lines and give back the holds of the failed ones; whether the ledger has confirmed all.

    A line that it has not stays as it is, and is settled again at the next look.
    """
    snapshot, target = load_snapshot(job.tenant_id), target_of(job)
    held = _held(item.attempt_id for item, _ in pairs)
    billed = {
        item.attempt_id: _bill(
            item, result.answer, job=job, target=target, snapshot=snapshot, held=held[item.attempt_id]
        )
        for item, result in pairs
        if result.answer is not None
    }
    failed = {item.attempt_id for item, result in pairs if result.answer is None}
    waiting = {
        item.attempt_id
        for item, result in pairs
        if item.attempt_id in failed and _goes_on(job.batch, _failure(result, is_cancelling=False)[1])
    }

    async def end_all() -> list[Any]:
        settled = (settlements.settle(one.settlement) for one in billed.values())
        voided = (
            settlements.void(attempt_id, reason="provider_error") for attempt_id in sorted(failed - waiting)
        )
        return await asyncio.gather(*settled, *voided)

    if pairs:
        _run(end_all)
    wait_again(job.batch, waiting)
    still_open = _open({item.attempt_id for item, _ in pairs} - waiting)
    confirmed = [(item, result) for item, result in pairs if item.attempt_id not in still_open]
    _write_down(job, confirmed, billed)
    return not still_open


def wait_again(batch: Batch, attempt_ids: Collection[UUID]) -> None:
    """Let lines of deferred calls, that no provider answered, keep their holds: they go out in real time, or are given back."""
    until = timezone.now() + timedelta(seconds=_seconds_held(batch))
    if attempt_ids:
        _run(lambda: hold_again(attempt_ids, until=until))


def _goes_on(batch: Batch, error: Mapping[str, Any]) -> bool:
    """Whether a line that failed so is asked again by `llm.jobs`: of a deferred call, and not refused by the provider."""
    return batch.is_gathered and not error.get("status")


class Waiting(Protocol):
    """What waits with a hold of its own: a line of a batch, a deferred job."""

    @property
    def attempt_id(self) -> UUID | None: ...


def release(items: Iterable[Waiting], *, reason: str) -> None:
    """Give holds back; a line that was never held, or ended already, is left alone. Raises NotReleasedError."""
    held = _open(item.attempt_id for item in items if item.attempt_id is not None)

    async def void_all() -> list[Any]:
        return await asyncio.gather(*(settlements.void(attempt_id, reason=reason) for attempt_id in held))

    if held:
        _run(void_all)
    if left := _open(held):
        raise NotReleasedError(f"{len(left)} holds are not given back yet")


class NotReleasedError(Exception):
    """The ledger has not confirmed that every hold is given back: to be tried again."""


def _open(attempt_ids: Iterable[UUID]) -> Collection[UUID]:
    """Those attempts that are still held or sent, as the ledger's tables have it now."""
    still = Attempt.objects.filter(pk__in=list(attempt_ids), state__in=["held", "sent"])
    return set(still.values_list("pk", flat=True))


def _reservation(batch: Batch, item: BatchItem, *, snapshot: TenantSnapshot) -> NewAttempt:
    target = snapshot.catalog.find(item.model)
    wire = wire_of(batch.endpoint)
    facts = wire.facts(item.body)
    at = batch.created_at
    rates = snapshot.prices.rates(target.provider, target.model, at=at, processing="batch")
    exchange = prepare(
        wire, item.body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=None
    )
    estimate = estimate_exchange(exchange, facts, target=target, snapshot=snapshot)
    input_tokens = estimate.most_tokens
    is_chat = target.model_kind == "chat"
    limit = line_limit(item, batch.endpoint, target=target, policy=snapshot.policy) if is_chat else 0
    writes_cache = b'"cache_control"' in exchange.payload()
    hold = partial(
        hold_for,
        input_tokens=input_tokens,
        max_output_tokens=limit,
        n=facts.n,
        input_meters=INPUT_METERS if writes_cache else ("input", "cache_read"),
    )
    user = batch.user or facts.user
    check_user(snapshot.tenant, user, have_budgets=any(one.scope == "user" for one in snapshot.budgets))
    key_name = next((key.name for key in snapshot.tenant.keys.values() if key.id == batch.key_id), "")
    dimensions = dimensions_of(
        snapshot.tenant,
        user=user,
        key=key_name,
        feature=batch.feature,
        tags=batch.tags,
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
        hold_usd=max(map(hold, contexts(snapshot.prices, rates, at=at, processings=frozenset()))),
        hold_tokens=input_tokens + limit * facts.n,
        windows=windows_for(snapshot.budgets, dimensions, at=at, timezone=snapshot.tenant.timezone),
        is_sent=False,
        ttl_seconds=_seconds_held(batch),
        dims=ledger_dims(
            dimensions,
            tags=batch.tags,
            endpoint=batch.endpoint,
            model_asked=item.model,
            tier=target.tier,
            cache_state="bypass",
        )
        | estimate.to_dims(),
    )


def _seconds_held(batch: Batch) -> float:
    return (batch.expires_at + HOLD_OUTLIVES_BATCH - timezone.now()).total_seconds()


def _held(attempt_ids: Iterable[UUID]) -> Mapping[UUID, tuple[Decimal, int, datetime]]:
    """What each line is held at, USD and tokens, and since when: at the prices of then it is billed."""
    attempts = Attempt.objects.filter(pk__in=list(attempt_ids))
    rows = attempts.values_list("pk", "hold_usd", "hold_tokens", "occurred_at")
    return {pk: (usd, tokens, at) for pk, usd, tokens, at in rows}


def _bill(
    item: BatchItem,
    answer: dict[str, Any],
    *,
    job: BatchJob,
    target: Target,
    snapshot: TenantSnapshot,
    held: tuple[Decimal, int, datetime],
) -> Billed:
    usd, tokens, at = held
    n = wire_of(job.batch.endpoint).facts(item.body).n
    output = min(tokens, n * line_limit(item, job.batch.endpoint, target=target, policy=snapshot.policy))
    return bill(
        item,
        answer,
        at=at,
        target=target,
        # with the longest limit that may have been sent
        exchange=exchange_of(item, job=job, target=target, policy=snapshot.policy, is_covered=False),
        snapshot=snapshot,
        held=Held(usd, tokens - output, output),
    )


def _write_down(
    job: BatchJob, confirmed: Sequence[tuple[BatchItem, LineResult]], billed: Mapping[UUID, Billed]
) -> None:
    """Follow the ledger: what each line cost, its answer or its error."""
    now = timezone.now()
    for item, result in confirmed:
        item.settled_at = now
        if one := billed.get(item.attempt_id):
            item.status = BatchItem.Status.COMPLETED
            item.response = storable.json_value(one.answer)
            item.cost_usd, item.list_cost_usd = one.cost_usd, one.list_cost_usd
            item.input_tokens, item.output_tokens = one.input_tokens, one.output_tokens
        else:
            item.status, error = _failure(result, is_cancelling=job.batch.cancelling_at is not None)
            item.error = storable.json_value(error)
    items = [item for item, _ in confirmed]
    fields = ["status", "response", "error", "settled_at"]
    fields += ["cost_usd", "list_cost_usd", "input_tokens", "output_tokens"]
    BatchItem.objects.bulk_update(items, fields, batch_size=100)
    log_lines(job.batch, items)


def _failure(result: LineResult, *, is_cancelling: bool) -> tuple[str, dict[str, Any]]:
    """The status of a line that was not answered, and its error: `code`, `message`, and the `status` of HTTP if it got one."""
    error = result.error or {}
    code, message = (
        error.get("code") or "provider_error",
        error.get("message") or "The provider gave no reason.",
    )
    if code in {"batch_expired", "batch_cancelled"}:
        is_cancelled = code == "batch_cancelled" and is_cancelling
        status = BatchItem.Status.CANCELLED if is_cancelled else BatchItem.Status.EXPIRED
        return status, {"code": f"batch_{status}", "message": message}
    return BatchItem.Status.FAILED, {"status": result.status, "code": code, "message": message}


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """Run the ledger's own async functions from a worker: one loop, one pool, closed again."""

    async def main() -> T:
        async with resources():
            return await work()

    return asyncio.run(main())
