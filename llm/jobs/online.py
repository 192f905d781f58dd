"""Answers jobs in real time: those whose model has no cheaper lane, and those whose deadline is near.

Invariant: a job is answered by the one worker that claimed it, through the same pipeline as every call, and from memory if its
answer is there by now. A worker that is lost leaves it to the ledger: what may have been sent is never sent again.
"""

import math
from datetime import datetime, timedelta
from typing import Final

import orjson
import structlog
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from billing.budgets.balances import BudgetExceeded
from config.database import storable
from llm import pipeline
from llm.batches.sending.real_time import fate_of, lost_error, may_do_later
from llm.calls.call import Call
from llm.deferred.lanes import Offer, next_after_flex
from llm.errors import InternalError
from llm.jobs import trying
from llm.jobs.calls import targets_of
from llm.jobs.following import Delay
from llm.jobs.trying import Ended
from llm.models import DeferredJob
from tenants.errors import ClientError

MOST_TRIES: Final = 5
FIRST_PAUSE: Final = timedelta(seconds=10)

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('llm_deferredjob.online', %s::bigint))"

log = structlog.get_logger(__name__)
Status, Lane = DeferredJob.Status, DeferredJob.Lane


def due_tenants(*, now: datetime | None = None) -> list[int]:
    """The tenants that have jobs to be answered in real time now."""
    now = now or timezone.now()
    return list(_due(now).order_by().values_list("tenant_id", flat=True).distinct())


def recover_lost(*, now: datetime | None = None) -> None:
    """Take up the jobs whose worker is gone: again where nothing was sent; by the ledger where something was."""
    now = now or timezone.now()
    lost = DeferredJob.objects.filter(status=Status.RUNNING, item=None, leased_until__lt=now)
    for job in lost.order_by("pk")[:100]:
        fate = fate_of(job.request_id)
        if fate == "open":
            continue
        still = DeferredJob.objects.filter(pk=job.pk, status=Status.RUNNING, tries=job.tries)
        if fate == "again":
            still.update(status=Status.QUEUED, leased_until=None)
        else:
            still.update(status=Status.FAILED, finished_at=now, cost_usd=fate, error=lost_error())


def _due(now: datetime) -> QuerySet[DeferredJob]:
    goes_now = Q(lane__in=(Lane.ONLINE, Lane.FLEX)) | Q(move_up_at__lte=now)
    may_go = Q(next_try_at=None) | Q(next_try_at__lte=now)
    return DeferredJob.objects.filter(goes_now, may_go, status=Status.QUEUED, is_refresh=False)


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
        trying.claim(jobs, now=now)
    return jobs


async def answer(job: DeferredJob, call: Call) -> Delay | None:
    """One try at a job, written down whatever comes of it; the delay, if a provider was asked."""
    async with trying.renewed(job):
        ended = await _ended(job, call)
    await trying.write(job, ended)
    if ended.statement == trying.PUT_BACK and job.lane == Lane.FLEX:
        return Delay(job.provider, job.model, job.lane, math.inf)  # it had no room
    if call.outcome is None or not call.was_sent or job.started_at is None:
        return None
    seconds = (timezone.now() - job.started_at).total_seconds()
    return Delay(call.outcome.provider, call.outcome.model, job.lane, seconds)


async def _ended(job: DeferredJob, call: Call) -> Ended:
    try:
        answer = await pipeline.answer_later(call, targets_of(job))
    except ClientError as error:
        return await _failed(job, call, error)
    except Exception:
        log.exception("a deferred call failed", job=job.public_id)
        return await trying.finished(call, InternalError("Something went wrong on our side."))
    return await trying.finished(call, storable.json_text(orjson.loads(answer.body)))


async def _failed(job: DeferredJob, call: Call, error: ClientError) -> Ended:
    """Put it back for another try where that is worth it: nothing was billed, and it may go better later."""
    pause = FIRST_PAUSE * 2 ** (job.tries - 1)
    has_time = job.tries < MOST_TRIES or (
        isinstance(error, BudgetExceeded) and timezone.now() + FIRST_PAUSE < job.deadline_at
    )
    if not may_do_later(call, error) or not has_time:
        return await trying.finished(call, error)
    now = timezone.now()
    if job.lane != Lane.FLEX:
        return trying.put_back(call, lane=Lane.ONLINE, next_try_at=now + min(pause, FIRST_PAUSE * 8))
    # what flex has no room for has a batch's time left, or goes out in real time
    until = next_after_flex([Offer.from_json(offer) for offer in job.lanes], at=job.created_at, now=now)
    lane = Lane.BATCH if until and trying.waiting_of(call) else Lane.ONLINE  # a line needs its hold
    return trying.put_back(call, lane=lane, next_try_at=now, move_up_at=until)
