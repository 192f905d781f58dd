"""Answers lines in real time: those of models that no account takes in batches. At the price of real time, through the pipeline.

Invariant: a line is begun in the database before it goes out, and written down as soon as it has its answer, by the one driver of
its batch. What may have been sent when a driver was lost is never sent again: the ledger says what became of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

import orjson
import structlog
from django.db.models import Sum
from django.utils import timezone

from billing.budgets.balances import BudgetExceeded
from billing.errors import LedgerUnavailable
from billing.ledger import connection as ledger_connection
from billing.ledger import settlements
from billing.ledger.waiting import Reserve
from billing.models import Attempt, UsageRecord
from caching.answers import CachedAnswer
from caching.exact.store import ExactKey
from config import resources
from config.database import storable
from llm import pipeline
from llm.batches.plans.calls import call_of
from llm.batches.plans.remembered import facts_of
from llm.batches.plans.writing import save_items
from llm.batches.sending.retries import FIRST_PAUSE, MOST_ATTEMPTS
from llm.calls.answers import costs_of
from llm.calls.call import Call
from llm.catalog.loading import load_snapshot
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import InternalError, ModelNotFound
from llm.models import Batch, BatchItem, BatchJob, RequestLog
from llm.providers.errors import ProviderFailure, ProviderRejected
from llm.providers.target import Target
from llm.routing.decision import Route
from tenants.errors import ClientError
from tenants.rls import tenant_connection

ROUNDS: Final = 8  # as many lines at each place before the driver looks at what else there is
WAIT_FOR_REAPER: Final = timedelta(seconds=15)

END: Final = """
UPDATE llm_batchitem
SET status = %(status)s, response = %(response)s, error = %(error)s, settled_at = %(now)s, model = %(model)s,
    provider = %(provider)s, input_tokens = %(input)s, output_tokens = %(output)s, cost_usd = %(cost)s,
    list_cost_usd = %(list)s, remembered = %(remembered)s
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'submitted' AND settled_at IS NULL
"""
PUT_BACK: Final = """
UPDATE llm_batchitem
SET status = 'held', attempt_no = attempt_no + 1, attempt_id = coalesce(%(attempt)s, attempt_id)
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'submitted' AND settled_at IS NULL
"""

log = structlog.get_logger(__name__)
Status = BatchItem.Status


def answer_next(job: BatchJob, *, batch: Batch) -> timedelta | None:
    """Answer the next lines of a job, as many at one time as the tenant's policy lets go out; when to come back, None where no
    line is left."""
    lost = _recover(job)
    snapshot = load_snapshot(job.tenant_id)
    places = snapshot.policy.deferred.concurrency
    items = list(
        job.items.filter(status=Status.HELD, settled_at=None).order_by("attempt_no", "line")[
            : places * ROUNDS
        ]
    )
    if not items:
        return WAIT_FOR_REAPER if lost else None
    for item in items:
        item.status = Status.SUBMITTED
    save_items(items, ["status"])
    # of a try before: this one's row says how it ended
    again = [item.request_id for item in items if item.attempt_no > 1]
    RequestLog.objects.filter(tenant_id=job.tenant_id, request_id__in=again).delete()
    were_put_back = asyncio.run(_answer_all(items, batch, snapshot, places=places))
    return FIRST_PAUSE if all(were_put_back) else timedelta(0)


def fate_of(request_id: UUID) -> Literal["again", "open"] | Decimal:
    """What the ledger says of a call whose worker was lost: nothing of it went out, something is still open there, or what it has
    cost. What is held waits."""
    sent = Attempt.objects.filter(request_id=request_id).exclude(state__in=["voided", "held"])
    if sent.filter(state="sent").exists():
        return "open"  # the reaper ends it
    if not sent.exists():
        return "again"
    booked = UsageRecord.objects.filter(request_id=request_id).aggregate(cost=Sum("billed_cost"))
    return booked["cost"] or Decimal(0)


def lost_error() -> dict[str, Any]:
    """What a client is told of a call that was lost after it was sent."""
    return {
        "code": "provider_error",
        "message": "The call was sent, and lost on our side before its answer could be kept.",
        "status": 502,
    }


def may_do_later(call: Call, error: ClientError) -> bool:
    """Whether a failed call is worth another try: it may go better later, and nothing was billed."""
    is_passing = isinstance(error, ProviderFailure | LedgerUnavailable | BudgetExceeded)
    return is_passing and not isinstance(error, ProviderRejected) and not costs_of(call, None)[0]


def _recover(job: BatchJob) -> int:
    """End the lines whose driver is gone, or let them go out again; how many the ledger has not ended yet."""
    still_open = 0
    begun = list(job.items.filter(status=Status.SUBMITTED, settled_at=None).order_by("line"))
    for item in begun:
        fate = fate_of(item.request_id)
        if fate == "open":
            still_open += 1
        elif fate == "again":
            item.status = Status.HELD
        else:
            item.status, item.error, item.settled_at = Status.FAILED, lost_error(), timezone.now()
            item.cost_usd = item.list_cost_usd = fate
    save_items(begun, ["status", "error", "settled_at", "cost_usd", "list_cost_usd"])
    return still_open


async def _answer_all(
    items: Sequence[BatchItem], batch: Batch, snapshot: TenantSnapshot, *, places: int
) -> list[bool]:
    """Answer lines, so many at one time; for each whether it was put back."""
    calls = await asyncio.to_thread(_calls_of, items, batch, snapshot)
    free = asyncio.Semaphore(places)

    async def answer(item: BatchItem, call: Call) -> bool:
        async with free:
            return await _answer(item, call)

    async with resources.resources():
        ended = await asyncio.gather(*map(answer, items, calls), return_exceptions=True)
    for item, outcome in zip(items, ended, strict=True):
        if isinstance(outcome, BaseException):  # the next driver finds it begun, and asks the ledger
            log.error("line_not_written_down", line=item.pk, exc_info=outcome)
    return [outcome is True for outcome in ended]


async def _answer(item: BatchItem, call: Call) -> bool:
    """One try at a line, written down whatever comes of it; whether it was put back."""
    result: dict[str, Any] | ClientError
    try:
        result = orjson.loads((await pipeline.answer_ourselves(call, _targets_of(item))).body)
    except ClientError as error:
        if may_do_later(call, error) and item.attempt_no < MOST_ATTEMPTS:
            await _write(item, PUT_BACK, attempt=_waiting_of(call))
            return True
        result = error
    except Exception:
        log.exception("a line failed", line=item.pk)
        result = InternalError("Something went wrong on our side.")
    if left := _waiting_of(call):
        await settlements.void(left, reason="line ended")
    await _write(item, END, **_ending(item, call, result))
    return False


def _waiting_of(call: Call) -> UUID | None:
    """What still holds its money, as no attempt has taken it over."""
    return call.reserve.attempt_id if call.reserve else None


def _ending(item: BatchItem, call: Call, result: dict[str, Any] | ClientError) -> dict[str, Any]:
    """What a line's row says when it is over."""
    cost_usd, list_cost_usd = costs_of(call, call.outcome)
    outcome, response, error, kept = call.outcome, None, None, None
    if isinstance(result, ClientError):
        error = storable.json_text({"code": result.code, "message": result.message, "status": result.status})
    else:
        result["purser"] = {**result.get("purser", {}), "processing": "online"}
        response = storable.json_text(result)
        if item.exact_key and outcome is not None:
            answer = CachedAnswer(
                body={},
                endpoint=call.endpoint,
                model=outcome.model,
                provider=outcome.provider,
                usage=dict(outcome.meters),
                list_cost_usd=outcome.own_list_cost_usd,
                baseline_model=item.plan.get("baseline_model", ""),
                request_id=call.id_text,
            )
            kept = storable.json_text(facts_of(answer))
    return {
        "status": Status.COMPLETED if error is None else Status.FAILED,
        "response": response,
        "error": error,
        "remembered": kept,
        "now": timezone.now(),
        "model": outcome.model if outcome else item.model,
        "provider": outcome.provider if outcome else item.provider,
        "input": outcome.input_tokens if outcome else 0,
        "output": outcome.output_tokens if outcome else 0,
        "cost": cost_usd,
        "list": list_cost_usd,
    }


async def _write(item: BatchItem, statement: str, **facts: Any) -> None:
    parameters = {"tenant": item.tenant_id, "id": item.pk, **facts}

    async def execute() -> None:
        async with tenant_connection(item.tenant_id) as connected:
            await connected.execute(statement, parameters)

    await ledger_connection.twice(execute)


def _calls_of(items: Sequence[BatchItem], batch: Batch, snapshot: TenantSnapshot) -> list[Call]:
    """The calls of lines that go out now, each with what holds its money, and with the attempts it has had."""
    attempts: dict[UUID, list[Attempt]] = {item.request_id: [] for item in items}
    for attempt in Attempt.objects.filter(request_id__in=list(attempts)).order_by("attempt_no"):
        attempts[attempt.request_id].append(attempt)
    calls = []
    for item in items:
        call = call_of(item, batch, snapshot=snapshot)
        had = attempts[item.request_id]
        call.tries = max((one.attempt_no for one in had), default=0)
        waiting = next((one for one in reversed(had) if one.state == Attempt.State.HELD), None)
        if waiting is not None:
            call.reserve = Reserve(waiting.pk, waiting.hold_usd, waiting.hold_tokens, waiting.expires_at)
        if item.exact_key:
            call.exact_key, call.cache_state = ExactKey(item.tenant_id, item.exact_key), "miss"
        call.receipt.steps += item.plan.get("steps", [])
        call.receipt.note(
            "batch", "online", batch=batch.public_id, line=item.line, reason="no account takes it in batches"
        )
        calls.append(call)
    return calls


def _targets_of(item: BatchItem) -> Callable[[Call], Awaitable[list[Target]]]:
    """Finds the model that was chosen when the batch was planned, and those that may take its place."""

    async def find(call: Call) -> list[Target]:
        catalog, plan = call.snapshot.catalog, item.plan
        begun = {
            name: accounts[0] for name, accounts in catalog.off.items()
        }  # what was switched off since finishes
        known = {**begun, **catalog.targets}
        targets = [known[name] for name in (item.model, *plan.get("fallbacks", ())) if name in known]
        if not targets:
            raise ModelNotFound(f"The model '{item.model}' is not served any more.", param="model")
        call.route = Route(
            tier=plan.get("tier") or targets[0].tier,
            target=targets[0],
            reason=plan.get("reason") or "named model",
            max_tokens=targets[0].output_bound,
            fallbacks=tuple(targets[1:]),
            tier_without_pressure=plan.get("tier", "") if plan.get("is_under_pressure") else "",
        )
        return targets

    return find
