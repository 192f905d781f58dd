"""Follows the lines of gathered batches, and ends what has to end: a job gets its line's answer, or moves up.

Invariant: a job's state follows its line's, which follows the ledger; whatever is repeated changes nothing. A line that no
provider answered, and whose hold is given back, goes out in real time.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from llm.batches import money
from llm.deferred.delays import with_delays
from llm.models import BatchItem, DeferredJob, LaneDelay

CHUNK: Final = 200
UNCONFIRMED_AFTER: Final = timedelta(minutes=2)  # then nobody waits for its hold any more
LATE: Final = 2  # a lane that was given up had taken at least so many times longer

Status = DeferredJob.Status
_CHANGED: Final = (
    *("status", "lane", "item", "body", "response", "error", "cost_usd", "list_cost_usd", "input_tokens"),
    *("output_tokens", "started_at", "finished_at", "is_held", "steps"),
)


def follow(*, batch_id: int | None = None) -> None:
    """Give the jobs whose lines are over their answers; those of one batch, or of all."""
    over = DeferredJob.objects.filter(status=Status.RUNNING, item__settled_at__isnull=False)
    if batch_id is not None:
        over = over.filter(item__batch_id=batch_id)
    while True:
        with transaction.atomic():
            locked = over.select_for_update(skip_locked=True, of=("self",)).select_related("item")
            jobs = list(locked.order_by("pk")[:CHUNK])
            items = [job.item for job in jobs if job.item is not None]
            _learn_of(jobs)
            for job in jobs:
                _end_line(job)
            DeferredJob.objects.bulk_update(jobs, list(_CHANGED), batch_size=100)
            BatchItem.objects.filter(pk__in=[item.pk for item in items]).update(body={}, response=None)
        if len(jobs) < CHUNK:
            return


def cancel(job: DeferredJob, *, now: datetime | None = None) -> bool:
    """Cancel a job that waits, or ask one that runs to end; False where it is over."""
    now = now or timezone.now()
    same = DeferredJob.objects.filter(pk=job.pk)
    if same.filter(status=Status.QUEUED).update(
        status=Status.CANCELLED, finished_at=now, cancel_asked_at=now, body={}
    ):
        return True
    return bool(same.filter(status=Status.RUNNING).update(cancel_asked_at=now))


def release_ended() -> None:
    """Give back the holds of jobs that ended without an answer."""
    ended = DeferredJob.objects.filter(is_held=True, status__in=(Status.FAILED, Status.CANCELLED))
    while jobs := list(ended.order_by("pk")[:CHUNK]):
        money.release(jobs, reason="deferred call ended")
        DeferredJob.objects.filter(pk__in=[job.pk for job in jobs]).update(is_held=False)


def forget_unconfirmed(*, now: datetime | None = None) -> None:
    """Delete jobs whose acceptance was interrupted; no client knows of them."""
    before = (now or timezone.now()) - UNCONFIRMED_AFTER
    jobs = list(DeferredJob.objects.filter(status=Status.ACCEPTING, created_at__lt=before)[:CHUNK])
    if jobs:
        money.release(jobs, reason="deferred call not accepted")
        DeferredJob.objects.filter(pk__in=[job.pk for job in jobs], status=Status.ACCEPTING).delete()


def learn(delays: Iterable[tuple[str, str, str, float]]) -> None:
    """Remember how long answers took: provider, model, lane and seconds of each."""
    by_lane: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for provider, model, lane, seconds in delays:
        by_lane[provider, model, lane].append(seconds)
    for (provider, model, lane), seconds_of in sorted(by_lane.items()):
        with transaction.atomic():
            row, _ = LaneDelay.objects.select_for_update().get_or_create(
                provider=provider, model=model, lane=lane
            )
            row.counts = with_delays(row.counts, seconds_of)
            row.save()


def _learn_of(jobs: Sequence[DeferredJob]) -> None:
    found = []
    for job in jobs:
        item = job.item
        if item is None or item.settled_at is None or job.started_at is None:
            continue
        seconds = (item.settled_at - job.started_at).total_seconds()
        if item.status == BatchItem.Status.COMPLETED:
            found.append((job.provider, job.model, "batch", seconds))
        elif item.status == BatchItem.Status.EXPIRED:
            found.append((job.provider, job.model, "batch", seconds * LATE))
    learn(found)


def _end_line(job: DeferredJob) -> None:
    """The job as its line has ended: answered, refused by the provider, cancelled; else on its way to real time."""
    item = job.item
    assert item is not None
    if item.status == BatchItem.Status.COMPLETED:
        job.status, job.response = Status.COMPLETED, item.response
        job.cost_usd, job.list_cost_usd = item.cost_usd, item.list_cost_usd
        job.input_tokens, job.output_tokens = item.input_tokens, item.output_tokens
    elif (error := item.error or {}).get("status"):
        job.status, job.error = Status.FAILED, _refusal(error)
    elif job.cancel_asked_at is not None:
        job.status = Status.CANCELLED
    else:
        _move_up(job, item, why=error.get("code", "no answer"))
        return
    job.finished_at, job.is_held = item.settled_at, False


def _move_up(job: DeferredJob, item: BatchItem, *, why: str) -> None:
    job.status, job.lane, job.body, job.item, job.started_at = Status.QUEUED, "online", item.body, None, None
    job.is_held = False
    job.steps = [*job.steps, {"step": "deferred", "outcome": "online", "reason": why, "batch_line": item.pk}]


def _refusal(error: dict[str, Any]) -> dict[str, Any]:
    return {name: error.get(name) for name in ("code", "message", "status")}
