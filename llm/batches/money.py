"""The money of a batch: each line held before it is sent, billed once when it is answered, given back when it
is not.

Invariant: lines are named to the ledger by the ids of their attempts, which were written down first, so
everything here may be repeated; a line's status follows the ledger and is never ahead of it.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

from django.utils import timezone

from billing.budgets.balances import BudgetExceeded
from billing.budgets.windows import windows_for
from billing.estimates.costs import INPUT_METERS, hold_for
from billing.ledger import holds, settlements
from billing.ledger.holds import NewAttempt
from billing.ledger.waiting import hold_again
from billing.models import Attempt
from billing.runs.opening import envelope_windows
from billing.usage.served import contexts
from caching.exact import store as exact
from config import resources
from llm.batches.billed import Billed, bill
from llm.batches.lines import wire_of
from llm.batches.logs import log_lines
from llm.batches.plans.accounts import account_of, target_of
from llm.batches.plans.calls import call_of, sent_body_of
from llm.batches.plans.remembered import facts_of
from llm.batches.plans.writing import plain, save_items
from llm.batches.sending import retries
from llm.batches.sending.orders import exchange_of, line_limit
from llm.calls.dimensions import allocation_of, described, dimensions_of, ledger_dims, require_tags
from llm.catalog.loading import load_snapshot
from llm.catalog.snapshot import TenantSnapshot
from llm.models import Batch, BatchItem, BatchJob
from llm.providers.kinds.batch_api import LineResult
from llm.providers.target import Target
from llm.steps import repairing
from llm.steps.booking import Held
from llm.tokens.estimating import estimate_exchange
from llm.wire import prepare
from tenants.allocation import NO_TAGS
from tenants.errors import ClientError
from tenants.known_users import check_user
from tenants.policy import parse_policy

MAY_GO_BETTER: Final = frozenset({408, 409, 425, 429})
HOLD_OUTLIVES_BATCH: Final = timedelta(hours=48)  # by then every job was given up
LINE_OVERHEAD_BYTES: Final = 400  # of a line's envelope, and of what its provider's protocol adds


Refused = list[tuple[BatchItem, ClientError]]


def hold(batch: Batch, items: Sequence[BatchItem], *, snapshot: TenantSnapshot) -> Refused:
    """Hold planned lines against every budget that applies, at the price of their lane; those that were refused, and why."""
    wanted: list[tuple[BatchItem, NewAttempt]] = []
    refused: Refused = []
    for item in items:
        try:
            wanted.append((item, _reservation(batch, item, snapshot=snapshot)))
        except ClientError as refusal:
            refused.append((item, refusal))

    async def admit_all() -> list[Any]:
        admitted = (holds.admit(attempt) for _, attempt in wanted)
        return await asyncio.gather(*admitted, return_exceptions=True)

    held = []
    for (item, _), outcome in zip(wanted, resources.run(admit_all) if wanted else [], strict=True):
        if isinstance(outcome, BudgetExceeded):
            refused.append((item, outcome))
        elif isinstance(outcome, BaseException):
            raise outcome  # no answer: the next drive holds again
        else:
            item.status = BatchItem.Status.HELD
            held.append(item)
    save_items(held, ["status", "size_tokens", "size_bytes", "plan"])
    return refused


def mark_sent(job: BatchJob) -> None:
    """Say that a job's lines may reach the provider from now on: a hold that expires is then owed, not given back."""
    attempts = list(job.items.filter(settled_at=None).values_list("attempt_id", flat=True))
    resources.run(lambda: holds.mark_sent(attempts, ttl_seconds=_seconds_held(job.batch)))


def settle(job: BatchJob, pairs: Sequence[tuple[BatchItem, LineResult]]) -> bool:
    """Bill the answered lines, give back the holds of the failed ones, and let those go out again that may; whether the ledger
    has confirmed all.

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
        if item.attempt_id in failed and _goes_on(job.batch, _failure(result, job.batch)[1])
    }

    async def end_all() -> list[Any]:
        settled = (settlements.settle(one.settlement) for one in billed.values())
        voided = (
            settlements.void(attempt_id, reason="provider_error") for attempt_id in sorted(failed - waiting)
        )
        return await asyncio.gather(*settled, *voided)

    if pairs:
        resources.run(end_all)
    wait_again(job.batch, waiting)
    still_open = _open({item.attempt_id for item, _ in pairs} - waiting)
    confirmed = [(item, result) for item, result in pairs if item.attempt_id not in still_open]
    _remember(
        [(item, billed[item.attempt_id]) for item, _ in confirmed if item.attempt_id in billed], job.batch
    )
    worthy = [item for item, result in confirmed if retries.may_go_again(item, result, batch=job.batch)]
    again = retries.send_again(job.batch, worthy, snapshot=snapshot)
    over = [(item, result) for item, result in confirmed if item not in again]
    _write_down(job, over, billed)
    return not still_open


def wait_again(batch: Batch, attempt_ids: Collection[UUID]) -> None:
    """Let lines of deferred calls, that no provider answered, keep their holds: they go out in real time, or are given back."""
    until = timezone.now() + timedelta(seconds=_seconds_held(batch))
    if attempt_ids:
        resources.run(lambda: hold_again(attempt_ids, until=until))


def _goes_on(batch: Batch, error: Mapping[str, Any]) -> bool:
    """Whether a line that failed so is asked again by `llm.jobs`."""
    return batch.is_gathered and not is_refused(error)


def is_refused(error: Mapping[str, Any]) -> bool:
    """Whether the provider would refuse the line again: it looked at it, and it was not too busy, nor at fault itself."""
    status = int(error.get("status") or 0)
    return 400 <= status < 500 and status not in MAY_GO_BETTER


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
        resources.run(void_all)
    if left := _open(held):
        raise NotReleasedError(f"{len(left)} holds are not given back yet")


class NotReleasedError(Exception):
    """The ledger has not confirmed that every hold is given back: to be tried again."""


def _open(attempt_ids: Iterable[UUID]) -> Collection[UUID]:
    """Those attempts that are still held or sent, as the ledger's tables have it now."""
    still = Attempt.objects.filter(pk__in=list(attempt_ids), state__in=["held", "sent"])
    return set(still.values_list("pk", flat=True))


def _reservation(batch: Batch, item: BatchItem, *, snapshot: TenantSnapshot) -> NewAttempt:
    target = account_of(item, snapshot=snapshot)
    wire, body = wire_of(batch.endpoint), sent_body_of(item)
    facts = wire.facts(body)
    at = batch.created_at
    rates = snapshot.prices.rates(target.provider, target.model, at=at, processing=item.lane)
    exchange = prepare(wire, body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=None)
    estimate = estimate_exchange(exchange, facts, target=target, snapshot=snapshot)
    input_tokens = estimate.most_tokens
    is_chat = target.model_kind == "chat"
    limit = line_limit(item, batch.endpoint, target=target, policy=snapshot.policy) if is_chat else 0
    payload = exchange.payload()
    item.size_tokens, item.size_bytes = estimate.counted_tokens, len(payload) + LINE_OVERHEAD_BYTES
    writes_cache = b'"cache_control"' in payload
    hold = partial(
        hold_for,
        input_tokens=input_tokens,
        max_output_tokens=limit,
        n=facts.n,
        input_meters=INPUT_METERS if writes_cache else ("input", "cache_read"),
    )
    user = batch.user or facts.user
    check_user(snapshot.tenant, user, have_budgets=any(one.scope == "user" for one in snapshot.budgets))
    key = next((key for key in snapshot.tenant.keys.values() if key.id == batch.key_id), None)
    allocation = allocation_of(
        snapshot,
        user=user,
        key_tags=key.tags if key else NO_TAGS,
        tags=batch.tags,
        run_tags=batch.context.get("run_tags") or NO_TAGS,
    )
    require_tags(snapshot, allocation)
    item.plan = {**item.plan, "allocation": described(allocation)}
    dimensions = dimensions_of(
        allocation,
        user=user,
        key=key.name if key else "",
        feature=batch.feature,
        model=target.model,
        provider=target.provider,
    )
    return NewAttempt(
        id=item.attempt_id,
        tenant_id=batch.tenant_id,
        request_id=item.request_id,
        attempt_no=item.attempt_no,
        key_id=batch.key_id,
        user=user,
        feature=batch.feature,
        provider=target.provider,
        model=target.model,
        processing=item.lane,
        occurred_at=at,
        hold_usd=max(map(hold, contexts(snapshot.prices, rates, at=at, processings=frozenset()))),
        hold_tokens=input_tokens + limit * facts.n,
        windows=(
            *windows_for(snapshot.budgets, dimensions, at=at, timezone=snapshot.tenant.timezone),
            *envelope_windows(batch.context),
        ),
        is_sent=False,
        ttl_seconds=_seconds_held(batch),
        dims=ledger_dims(
            allocation,
            endpoint=batch.endpoint,
            model_asked=facts.model,
            tier=item.plan.get("tier") or target.tier,
            cache_state="miss" if item.exact_key else "bypass",
            trace=batch.context.get("trace", {}),
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
    call = call_of(item, job.batch, snapshot=snapshot)
    n = call.facts.n
    output = min(tokens, n * line_limit(item, job.batch.endpoint, target=target, policy=snapshot.policy))
    return bill(
        item,
        answer,
        call=call,
        at=at,
        target=target,
        # with the longest limit that may have been sent
        exchange=exchange_of(item, job=job, target=target, policy=snapshot.policy, is_covered=False),
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
            item.status, item.response = BatchItem.Status.COMPLETED, one.answer
            item.cost_usd, item.list_cost_usd = one.cost_usd, one.list_cost_usd
            item.input_tokens, item.output_tokens = one.input_tokens, one.output_tokens
            item.remembered = facts_of(one.remembered) if item.exact_key else None
        else:
            item.status, error = _failure(result, job.batch)
            item.error = plain(error)
    items = [item for item, _ in confirmed]
    columns = ["status", "response", "error", "settled_at", "remembered"]
    columns += ["cost_usd", "list_cost_usd", "input_tokens", "output_tokens"]
    save_items(items, columns)
    log_lines(job.batch, items)


def _remember(answered: Sequence[tuple[BatchItem, Billed]], batch: Batch) -> None:
    """Keep answers for the calls to come that are equal, as the pipeline does."""
    ttl = parse_policy(batch.tenant.policy).cache.ttl_seconds
    kept = [(item.exact_key, one) for item, one in answered if item.exact_key and one.may_be_reused]

    async def put(name: str, one: Billed) -> None:
        if await repairing.judge(one.call, one.remembered.body) is None:
            await exact.put(exact.ExactKey(batch.tenant_id, name), one.remembered, ttl_seconds=ttl)

    async def put_all() -> None:
        await asyncio.gather(*(put(name, one) for name, one in kept))

    if kept:
        resources.run(put_all)


def _failure(result: LineResult, batch: Batch) -> tuple[str, dict[str, Any]]:
    """The status of a line that was not answered, and its error: `code`, `message`, and the `status` of HTTP if it got one. A
    deferred call gets none where it may go better later: it is asked again in real time."""
    error = result.error or {}
    code, message = (
        error.get("code") or "provider_error",
        error.get("message") or "The provider gave no reason.",
    )
    if code in retries.NOT_BEGUN:
        is_cancelled = code == "batch_cancelled" and batch.cancelling_at is not None
        status = BatchItem.Status.CANCELLED if is_cancelled else BatchItem.Status.EXPIRED
        return status, {"code": f"batch_{status}", "message": message}
    told = {"code": code, "message": message}
    if batch.is_gathered and result.status in retries.RETRYABLE:
        return BatchItem.Status.FAILED, told
    return BatchItem.Status.FAILED, {"status": result.status, **told}
