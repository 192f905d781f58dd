"""Answers jobs in real time: those whose model has no cheaper lane, and those whose deadline is near.

Invariant: a job is answered by the one worker that claimed it, through the same pipeline as every call. What holds its money
makes room for its attempt. A worker that is lost leaves it to the ledger: what may have been sent is never sent again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
import structlog
from django.db import connection, transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from billing.budgets.balances import BudgetExceeded
from billing.errors import LedgerUnavailable
from billing.ledger import connection as ledger_connection
from billing.models import Attempt, UsageRecord
from config.database import storable
from llm import pipeline
from llm.batches.lines import wire_of
from llm.calls.answers import costs_of
from llm.calls.call import Call
from llm.calls.headers import CallHeaders
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import InternalError, ModelNotFound
from llm.jobs.gathering import attempt_of
from llm.models import DeferredJob, RequestLog
from llm.providers.errors import ProviderFailure, ProviderRejected
from llm.providers.target import Target
from llm.routing.decision import Route
from llm.wire import Source
from tenants.errors import ClientError
from tenants.principal import Principal
from tenants.rls import tenant_connection

LEASE: Final = timedelta(seconds=60)
RENEW_SECONDS: Final = 15.0
MOST_TRIES: Final = 5
FIRST_PAUSE: Final = timedelta(seconds=10)

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('llm_deferredjob.online', %s::bigint))"
_OURS: Final = "tenant_id = %(tenant)s AND id = %(id)s AND status = 'running' AND tries = %(tries)s"
RENEW: Final = f"UPDATE llm_deferredjob SET leased_until = %(until)s WHERE {_OURS}"
FINISH: Final = f"""
UPDATE llm_deferredjob
SET status = %(status)s, response = %(response)s, error = %(error)s, finished_at = %(now)s, leased_until = NULL,
    body = '{{}}', model = %(model)s, provider = %(provider)s, input_tokens = %(input)s, output_tokens = %(output)s,
    cost_usd = cost_usd + %(cost)s, list_cost_usd = list_cost_usd + %(list)s, is_held = %(is_held)s
WHERE {_OURS}
"""
PUT_BACK: Final = f"""
UPDATE llm_deferredjob
SET status = 'queued', leased_until = NULL, next_try_at = %(next_try_at)s, lane = 'online', is_held = %(is_held)s
WHERE {_OURS}
"""

Delay = tuple[str, str, str, float]  # how long an answer took: provider, model, lane and seconds

log = structlog.get_logger(__name__)
Status, Lane = DeferredJob.Status, DeferredJob.Lane


@dataclass(frozen=True, slots=True)
class Answered:
    """How a try has ended: what the job's row says then."""

    statement: str
    facts: dict[str, Any]


def due_tenants(*, now: datetime | None = None) -> list[int]:
    """The tenants that have jobs to be answered in real time now."""
    now = now or timezone.now()
    return list(_due(now).order_by().values_list("tenant_id", flat=True).distinct())


def recover_lost(*, now: datetime | None = None) -> None:
    """Take up the jobs whose worker is gone: again where nothing was sent; by the ledger where something was."""
    now = now or timezone.now()
    lost = DeferredJob.objects.filter(status=Status.RUNNING, item=None, leased_until__lt=now)
    for job in lost.order_by("pk")[:100]:
        attempts = Attempt.objects.filter(request_id=job.request_id).exclude(state="voided")
        sent = attempts.exclude(pk=attempt_of(job), state="held")
        if sent.filter(state__in=["held", "sent"]).exists():
            continue  # the reaper ends it
        still = DeferredJob.objects.filter(pk=job.pk, status=Status.RUNNING, tries=job.tries)
        if not sent.exists():
            still.update(status=Status.QUEUED, leased_until=None)
            continue
        booked = UsageRecord.objects.filter(request_id=job.request_id).aggregate(cost=Sum("billed_cost"))
        still.update(
            status=Status.FAILED,
            finished_at=now,
            cost_usd=booked["cost"] or Decimal(0),
            error={
                "code": "provider_error",
                "message": "The call was sent, and lost on our side before its answer could be kept.",
                "status": 502,
            },
        )


def _due(now: datetime) -> QuerySet[DeferredJob]:
    goes_now = Q(lane__in=(Lane.ONLINE, Lane.FLEX)) | Q(move_up_at__lte=now)
    may_go = Q(next_try_at=None) | Q(next_try_at__lte=now)
    return DeferredJob.objects.filter(goes_now, may_go, status=Status.QUEUED)


def claim(tenant_id: int, *, room: int, most: int, now: datetime) -> list[DeferredJob]:
    """Take the jobs whose deadline is next, up to `room`, and no more than may run (`most`) besides those that do."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(LOCK, (tenant_id,))
        running = DeferredJob.objects.filter(
            tenant_id=tenant_id, status=Status.RUNNING, item=None, leased_until__gte=now
        ).count()
        due = _due(now).filter(tenant_id=tenant_id).select_for_update(skip_locked=True)
        jobs = list(due.order_by("deadline_at", "pk")[: max(0, min(room, most - running))])
        for job in jobs:
            job.lane = Lane.ONLINE if job.move_up_at <= now or job.lane == Lane.BATCH else job.lane
            job.status, job.started_at, job.leased_until, job.tries = (
                Status.RUNNING,
                now,
                now + LEASE,
                job.tries + 1,
            )
        DeferredJob.objects.bulk_update(jobs, ["lane", "status", "started_at", "leased_until", "tries"])
        # of a try before, or a line that was not answered: this one's row says how it ended
        RequestLog.objects.filter(request_id__in=[job.request_id for job in jobs]).delete()
    return jobs


async def answer(job: DeferredJob, call: Call) -> Delay | None:
    """One try at a job, written down whatever comes of it; the delay of an answer."""
    renewing = asyncio.create_task(_renew(job))
    try:
        ended = await _ended(job, call)
    finally:
        renewing.cancel()
    await _write(job, ended.statement, **ended.facts)
    if call.outcome is None:
        return None
    seconds = (timezone.now() - job.started_at).total_seconds() if job.started_at else 0.0
    return call.outcome.provider, call.outcome.model, job.lane, seconds


async def _ended(job: DeferredJob, call: Call) -> Answered:
    try:
        answer = await pipeline.answer_ourselves(call, _targets_of(job))
    except ClientError as error:
        return _failed(job, call, error)
    except Exception:
        log.exception("a deferred call failed", job=job.public_id)
        return _finish(call, InternalError("Something went wrong on our side."))
    return _finish(call, storable.json_text(orjson.loads(answer.body)))


def _failed(job: DeferredJob, call: Call, error: ClientError) -> Answered:
    """Put it back for another try where that is worth it: nothing was billed, and it may go better later."""
    may_do_later = isinstance(error, ProviderFailure | LedgerUnavailable | BudgetExceeded)
    is_worth_it = may_do_later and not isinstance(error, ProviderRejected)
    pause = FIRST_PAUSE * 2 ** (job.tries - 1)
    has_time = job.tries < MOST_TRIES or (
        isinstance(error, BudgetExceeded) and timezone.now() + FIRST_PAUSE < job.deadline_at
    )
    if not is_worth_it or not has_time or costs_of(call, None)[0]:
        return _finish(call, error)
    is_held = call.reserved is not None
    return Answered(
        PUT_BACK, {"next_try_at": timezone.now() + min(pause, FIRST_PAUSE * 8), "is_held": is_held}
    )


def _finish(call: Call, result: str | ClientError) -> Answered:
    """The end of a job: its answer as JSON, or the error."""
    cost_usd, list_cost_usd = costs_of(call, call.outcome)
    outcome, error = call.outcome, None
    if isinstance(result, ClientError):
        error = storable.json_text({"code": result.code, "message": result.message, "status": result.status})
    target = call.route.target if call.route else None
    return Answered(
        FINISH,
        {
            "status": "completed" if error is None else "failed",
            "response": result if isinstance(result, str) else None,
            "error": error,
            "now": timezone.now(),
            "model": outcome.model if outcome else target.model if target else "",
            "provider": outcome.provider if outcome else target.provider if target else "",
            "input": outcome.input_tokens if outcome else 0,
            "output": outcome.output_tokens if outcome else 0,
            "cost": cost_usd,
            "list": list_cost_usd,
            "is_held": call.reserved is not None,
        },
    )


async def _renew(job: DeferredJob) -> None:
    """Say from time to time that the job is being answered."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await _write(job, RENEW, until=timezone.now() + LEASE)
        except LedgerUnavailable:
            log.warning("deferred_lease_not_renewed", job=job.public_id)


async def _write(job: DeferredJob, statement: str, **facts: Any) -> None:
    parameters = {"tenant": job.tenant_id, "id": job.pk, "tries": job.tries, **facts}

    async def execute() -> None:
        async with tenant_connection(job.tenant_id) as connected:
            await connected.execute(statement, parameters)

    await ledger_connection.twice(execute)


def call_of(job: DeferredJob, snapshot: TenantSnapshot) -> Call:
    """The client's call as it was accepted, for its key and its user, at the prices and in the budgets of then."""
    wire, context = wire_of(job.endpoint), job.context
    body = {**job.body, "service_tier": "flex"} if job.lane == Lane.FLEX else job.body
    waiting = Attempt.objects.filter(pk=attempt_of(job), state="held")
    call = Call(
        request_id=job.request_id,
        received_at=job.created_at,
        endpoint=job.endpoint,
        wire=wire,
        source=Source(orjson.dumps(body), body),
        body=body,
        facts=replace(wire.facts(body), model=job.model_asked),
        headers=CallHeaders(
            feature=job.feature,
            tags=job.tags,
            tier=context["tier"],
            prompt_version=context["prompt_version"],
            session=context["session"],
            agent=context["agent"],
        ),
        passed_on=context["passed_on"],
        principal=Principal(
            tenant_id=job.tenant_id,
            tenant_slug=snapshot.tenant.slug,
            key_id=job.key_id,
            key_name=job.key_name,
            key_public_id="",
            user=job.user,
        ),
        snapshot=snapshot,
        tries=Attempt.objects.filter(request_id=job.request_id).count(),
        reserved=job.attempt_id if waiting.exists() else None,
    )
    call.receipt.steps += job.steps
    return call


def _targets_of(job: DeferredJob) -> Callable[[Call], Awaitable[list[Target]]]:
    """Finds the model that was chosen when the job was accepted, and those that may take its place."""

    async def find(call: Call) -> list[Target]:
        catalog = call.snapshot.catalog
        targets = [catalog.targets[name] for name in (job.model, *job.fallbacks) if name in catalog.targets]
        if not targets:
            raise ModelNotFound(f"The model '{job.model}' is not served any more.", param="model")
        route = job.context["route"] or {"tier": targets[0].tier, "reason": "named model"}
        call.route = Route(
            tier=route["tier"],
            target=targets[0],
            reason=route["reason"],
            max_tokens=targets[0].output_bound,
            fallbacks=tuple(targets[1:]),
        )
        return targets

    return find
