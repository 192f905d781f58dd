"""Notifies a tenant's webhook that a job is over.

Invariant: a notice is sent by the one worker whose UPDATE claimed it, and again, later each time, until the receiver has taken
it; every copy has the job's id as its event, by which receivers drop it. It says how the job ended, and has no answer.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import transaction
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from billing.alerts import webhook
from billing.models import AlertChannel
from llm.models import DeferredJob

MOST_AT_ONCE: Final = 100
MOST_OF_A_TENANT: Final = 10  # of those: a webhook that is slow delays its own tenant's notices
MOST_TRIES: Final = 8
CLAIM: Final = timedelta(minutes=5)  # longer than any notice takes
FIRST_RETRY: Final = timedelta(seconds=30)
LONGEST_RETRY: Final = timedelta(hours=1)

Channels = dict[tuple[int | None, str], AlertChannel]  # by tenant and name

log = structlog.get_logger(__name__)


def notify_due(*, now: datetime | None = None) -> int:
    """Send the notices that are due; how many were taken."""
    now = now or timezone.now()
    jobs = _claim(now)
    if not jobs:
        return 0
    problems = asyncio.run(_post_all(jobs, _channels_of(jobs), now=now))
    for job, problem in zip(jobs, problems, strict=True):
        _record(job, problem, now=now)
    return problems.count("")


def _claim(now: datetime) -> list[DeferredJob]:
    due = DeferredJob.objects.filter(
        Q(notify_at=None) | Q(notify_at__lte=now),
        finished_at__isnull=False,
        is_notified=False,
        notices__lt=MOST_TRIES,
    ).exclude(channel="")
    place = Window(RowNumber(), partition_by=F("tenant_id"), order_by="pk")
    in_turn = due.annotate(place=place).filter(place__lte=MOST_OF_A_TENANT).order_by("place", "pk")
    with transaction.atomic():
        next_ones = list(in_turn.values_list("pk", flat=True)[:MOST_AT_ONCE])
        locked = due.filter(pk__in=next_ones).select_for_update(skip_locked=True)
        pks = list(locked.order_by("pk").values_list("pk", flat=True))
        DeferredJob.objects.filter(pk__in=pks).update(notify_at=now + CLAIM, notices=F("notices") + 1)
    jobs = DeferredJob.objects.filter(pk__in=pks).select_related("tenant").defer("body", "response", "steps")
    return list(jobs.order_by("pk"))


async def _post_all(jobs: Sequence[DeferredJob], channels: Channels, *, now: datetime) -> list[str]:
    """What was wrong with each notice; empty where it was taken."""
    async with webhook.open_session() as session:

        async def post(job: DeferredJob) -> str:
            channel = channels.get((job.tenant_id, job.channel))
            if channel is None:
                return f"there is no webhook '{job.channel}'"
            notice = webhook.Webhook(
                url=channel.target,
                secret=channel.secret,
                event_id=job.public_id,
                body=json.dumps(notice_of(job), ensure_ascii=False).encode(),
            )
            try:
                await webhook.post(session, notice, at=int(now.timestamp()))
            except webhook.WebhookFailed as failure:
                return str(failure)
            return ""

        return list(await asyncio.gather(*map(post, jobs)))


def notice_of(job: DeferredJob) -> dict[str, object]:
    """What is sent: the job's facts, without its answer, which is at `/v1/jobs/{id}`."""
    return {
        "id": job.public_id,
        "type": f"job.{job.status}",
        "tenant": job.tenant.slug,
        "endpoint": job.endpoint,
        "status": job.status,
        "lane": job.lane,
        "model": job.model,
        "user": job.user,
        "request_id": str(job.request_id),
        "cost_usd": f"{job.cost_usd:.12f}",
        "list_cost_usd": f"{job.list_cost_usd:.12f}",
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
    }


def _channels_of(jobs: Sequence[DeferredJob]) -> Channels:
    channels = AlertChannel.objects.filter(
        kind="webhook",
        is_active=True,
        tenant_id__in={job.tenant_id for job in jobs},
        name__in={job.channel for job in jobs},
    )
    return {(channel.tenant_id, channel.name): channel for channel in channels}


def _record(job: DeferredJob, problem: str, *, now: datetime) -> None:
    """Write down how it went, unless the claim ran out and another worker has it now."""
    ours = DeferredJob.objects.filter(pk=job.pk, notices=job.notices)
    if not problem:
        ours.update(is_notified=True)
        return
    pause = min(FIRST_RETRY * 2 ** (job.notices - 1), LONGEST_RETRY).total_seconds()
    ours.update(notify_at=now + timedelta(seconds=pause * random.uniform(0.5, 1.0)))
    log.warning("job_notice_not_taken", job=job.public_id, notices=job.notices, error=problem)
