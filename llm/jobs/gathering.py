"""Gathers queued jobs into batches of ours, one model's and one endpoint's at a time.

Invariant: a batch, its lines and the jobs' new state are one transaction; a line has the attempt and the request of its job,
held when the job was accepted. So a batch that was gathered goes on as any other, whichever worker was killed.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import uuid_utils
from django.db import transaction
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from billing.prices.savings import REFRESH
from llm.batches.requests import COMPLETION_WINDOW
from llm.jobs import known
from llm.models import Batch, BatchItem, BatchJob, DeferredJob
from tenants.models import Tenant
from tenants.policy import DeferredPolicy, parse_policy

MOST_BYTES: Final = 90 * 1024 * 1024  # of a batch's lines: all providers take so many
ALIKE: Final = (
    1.25  # the jobs of a batch have no more than so many times the time of the one that has the least
)
_GROUP: Final = ("tenant_id", "provider", "model", "endpoint")


def gather(*, now: datetime | None = None) -> list[int]:
    """Make a batch of each group of jobs that has come to the count, the age or the tokens of its tenant's policy; the ids
    of the batches."""
    now = now or timezone.now()
    groups = list(
        _waiting(now)
        .order_by()
        .values(*_GROUP)
        .annotate(jobs=Count("pk"), tokens=Sum("input_tokens"), oldest=Min("created_at"))
    )
    policies = {
        tenant.pk: parse_policy(tenant.policy).deferred
        for tenant in Tenant.objects.filter(pk__in={group["tenant_id"] for group in groups})
    }
    made = [
        _send({name: group[name] for name in _GROUP}, policy=policies[group["tenant_id"]], now=now)
        for group in groups
        if _is_ripe(group, policies[group["tenant_id"]], now=now)
    ]
    return [batch.pk for batch in made if batch is not None]


def _send(group: dict[str, Any], *, policy: DeferredPolicy, now: datetime) -> Batch | None:
    """A batch of what still has to be asked of a group."""
    next_ones = _waiting(now).filter(**group).order_by("move_up_at", "pk")[: policy.max_jobs]
    known.answer_from_memory(next_ones, tenant_id=group["tenant_id"], now=now)
    return _make_batch(group, policy=policy, now=now)


def _waiting(now: datetime) -> Any:
    return DeferredJob.objects.filter(
        status=DeferredJob.Status.QUEUED, lane=DeferredJob.Lane.BATCH, move_up_at__gt=now, same_as=None
    )


def _is_ripe(group: dict[str, Any], policy: DeferredPolicy, *, now: datetime) -> bool:
    return bool(
        group["jobs"] >= policy.max_jobs
        or group["tokens"] >= policy.max_tokens
        or group["oldest"] <= now - timedelta(seconds=policy.max_age_seconds)
    )


def _make_batch(group: dict[str, Any], *, policy: DeferredPolicy, now: datetime) -> Batch | None:
    """A batch of the group's jobs whose time is up first; None where another worker has just taken them, or all wait for
    equal ones."""
    with transaction.atomic():
        first = _waiting(now).filter(**group).select_for_update(skip_locked=True).order_by("move_up_at", "pk")
        sizes = first.values_list("pk", "move_up_at", "input_tokens", "body_bytes")[: policy.max_jobs]
        chosen = first_alike(sizes, most_tokens=policy.max_tokens, now=now)
        jobs = _to_send(list(DeferredJob.objects.filter(pk__in=chosen).order_by("move_up_at", "pk")))
        if not jobs:
            return None
        batch = Batch.objects.create(
            public_id=f"gathered_{_new_id().hex}",
            tenant_id=group["tenant_id"],
            key_id=jobs[0].key_id,
            endpoint=group["endpoint"],
            status=Batch.Status.IN_PROGRESS,
            line_count=len(jobs),
            created_at=now,
            in_progress_at=now,
            expires_at=min(jobs[0].move_up_at, now + COMPLETION_WINDOW),
        )
        part = BatchJob.objects.create(
            public_id=f"job_{_new_id().hex}",
            batch=batch,
            tenant_id=group["tenant_id"],
            provider=group["provider"],
            model=group["model"],
            line_count=len(jobs),
            input_tokens=sum(job.input_tokens for job in jobs),
        )
        _move(jobs, batch=batch, part=part, now=now)
    return batch


def _to_send(jobs: Sequence[DeferredJob]) -> list[DeferredJob]:
    """Of equal jobs the first; the others wait for its answer, or for that of one which is under way already."""
    running = DeferredJob.objects.filter(
        tenant_id__in={job.tenant_id for job in jobs},
        status=DeferredJob.Status.RUNNING,
        cancel_asked_at=None,
        exact_key__in={job.exact_key for job in jobs if known.may_share(job)},
    )
    first = {job.exact_key: job for job in running.only("exact_key").order_by("-pk")}
    to_send, equals = [], []
    for job in jobs:
        if not known.may_share(job) or first.setdefault(job.exact_key, job) is job:
            to_send.append(job)
        else:
            job.same_as = first[job.exact_key]
            equals.append(job)
    DeferredJob.objects.bulk_update(equals, ["same_as"], batch_size=500)
    return to_send


def _move(jobs: Sequence[DeferredJob], *, batch: Batch, part: BatchJob, now: datetime) -> None:
    """Each job becomes a line of the batch, with its body."""
    items = BatchItem.objects.bulk_create(
        [
            BatchItem(
                batch=batch,
                job=part,
                tenant_id=batch.tenant_id,
                line=number,
                custom_id=job.public_id,
                attempt_id=attempt_of(job),
                request_id=job.request_id,
                model=job.model,
                provider=job.provider,
                status=BatchItem.Status.HELD,
                body=job.body,
                plan=_plan_of(job),
            )
            for number, job in enumerate(jobs, start=1)
        ],
        batch_size=500,
    )
    for job, item in zip(jobs, items, strict=True):
        job.item, job.body, job.status, job.started_at = item, {}, DeferredJob.Status.RUNNING, now
    DeferredJob.objects.bulk_update(jobs, ["item", "body", "status", "started_at"], batch_size=500)


def _plan_of(job: DeferredJob) -> dict[str, Any]:
    """How the job was routed and compressed, as a line of a batch knows it."""
    context, route = job.context, job.context.get("route") or {}
    return {
        "tier": route.get("tier", ""),
        "reason": route.get("reason", ""),
        "is_under_pressure": bool(route.get("tier_without_pressure")),
        "baseline_model": context.get("baseline_model", ""),
        "tokens_before": context.get("tokens_before"),
        "tokens_after": context.get("tokens_after"),
        "cache_state": REFRESH if job.is_refresh else "miss" if job.exact_key else "bypass",
    }


def attempt_of(job: DeferredJob) -> UUID:
    """What holds the money of a job that waits."""
    assert job.attempt_id is not None
    return job.attempt_id


def first_alike(
    rows: Iterable[tuple[int, datetime, int, int]], *, most_tokens: int, now: datetime
) -> list[int]:
    """The jobs, in the order of their time, that can share a batch: as many as fit, with about the same time left."""
    chosen: list[int] = []
    tokens = size = 0
    latest: datetime | None = None
    for pk, move_up_at, input_tokens, body_bytes in rows:
        latest = latest or now + ALIKE * (move_up_at - now)
        tokens, size = tokens + input_tokens, size + body_bytes
        if chosen and (move_up_at > latest or tokens > most_tokens or size > MOST_BYTES):
            break
        chosen.append(pk)
    return chosen


def cancel_unwanted(*, now: datetime | None = None) -> int:
    """Cancel the gathered batches of which no client wants a line any more; how many."""
    now = now or timezone.now()
    running = DeferredJob.objects.filter(status=DeferredJob.Status.RUNNING, item__isnull=False)
    is_wanted = Q(cancel_asked_at=None) | Q(equals__status=DeferredJob.Status.QUEUED)
    counted = (
        running.order_by()
        .values("item__batch_id")
        .annotate(wanted=Count("pk", filter=is_wanted))
        .filter(wanted=0)
        .values("item__batch_id")
    )
    unwanted = Batch.objects.filter(pk__in=counted, status=Batch.Status.IN_PROGRESS)
    return unwanted.update(status=Batch.Status.CANCELLING, cancelling_at=now)


def _new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)
