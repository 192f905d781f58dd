"""Follows the lines of gathered batches, and ends what has to end: a job gets its line's answer, or moves up.

Invariant: a job's state follows its line's, which follows the ledger; whatever is repeated changes nothing. A line that no
provider answered goes out in real time, for the money that it holds.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from billing.models import Attempt
from config.values import value_type
from llm.batches import money
from llm.deferred.delays import TAKEN_BACK, Seen
from llm.jobs import known
from llm.models import BatchItem, DeferredJob, LaneDelay

CHUNK: Final = 200
UNCONFIRMED_AFTER: Final = timedelta(minutes=2)  # then nobody waits for its hold any more

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
            locked = over.select_for_update(skip_locked=True, of=("self",)).select_related("item__batch")
            jobs = list(locked.order_by("pk")[:CHUNK])
            items = [job.item for job in jobs if job.item is not None]
            _learn_of(jobs)
            for job in jobs:
                _end_line(job)
            answered = [(job, job.item.body) for job in jobs if job.item and job.status == Status.COMPLETED]
            DeferredJob.objects.bulk_update(jobs, list(_CHANGED), batch_size=100)
            BatchItem.objects.filter(pk__in=[item.pk for item in items]).update(body={}, response=None)
        known.remember(answered)
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


def end_late_refreshes(*, now: datetime | None = None) -> None:
    """Give up what was to buy an answer ahead of time and found no batch in time: it is not worth real time."""
    now = now or timezone.now()
    late = DeferredJob.objects.filter(status=Status.QUEUED, is_refresh=True, move_up_at__lte=now)
    late.update(status=Status.CANCELLED, finished_at=now, body={})


def release_ended() -> None:
    """Give back the holds of jobs that ended without an answer."""
    ended = DeferredJob.objects.filter(is_held=True, status__in=(Status.FAILED, Status.CANCELLED))
    while jobs := list(ended.order_by("pk")[:CHUNK]):
        money.release(_holds_of(jobs), reason="deferred call ended")
        DeferredJob.objects.filter(pk__in=[job.pk for job in jobs]).update(is_held=False)


def forget_unconfirmed(*, now: datetime | None = None) -> None:
    """Delete jobs whose acceptance was interrupted; no client knows of them."""
    before = (now or timezone.now()) - UNCONFIRMED_AFTER
    jobs = list(DeferredJob.objects.filter(status=Status.ACCEPTING, created_at__lt=before)[:CHUNK])
    if jobs:
        money.release(_holds_of(jobs), reason="deferred call not accepted")
        DeferredJob.objects.filter(pk__in=[job.pk for job in jobs], status=Status.ACCEPTING).delete()


@value_type
class Delay:
    """How long was waited for an answer in a lane: until it came, or until it was given up."""

    provider: str
    model: str
    lane: str
    seconds: float
    is_answered: bool = True


def learn(delays: Iterable[Delay]) -> None:
    """Remember how long lanes took."""
    by_lane: dict[tuple[str, str, str], list[Delay]] = defaultdict(list)
    for delay in delays:
        by_lane[delay.provider, delay.model, delay.lane].append(delay)
    for (provider, model, lane), its in sorted(by_lane.items()):
        with transaction.atomic():
            row, _ = LaneDelay.objects.select_for_update().get_or_create(
                provider=provider, model=model, lane=lane
            )
            seen = Seen(tuple(row.answered), tuple(row.given_up))
            for delay in its:
                seen = seen.with_delay(delay.seconds, lane=lane, is_answered=delay.is_answered)
            row.answered, row.given_up = list(seen.answered), list(seen.given_up)
            row.save()


@dataclass(frozen=True, slots=True)
class _Hold:
    attempt_id: UUID


def _holds_of(jobs: Sequence[DeferredJob]) -> list[_Hold]:
    """What holds their money: the attempt they were accepted with, or a later one that came to nothing."""
    held = Attempt.objects.filter(request_id__in=[job.request_id for job in jobs], state="held")
    return [_Hold(pk) for pk in held.values_list("pk", flat=True)]


def _learn_of(jobs: Sequence[DeferredJob]) -> None:
    """What batches took, each once, however many lines it has: by its first one."""
    found = []
    for job in jobs:
        item = job.item
        if item is None or item.line != 1 or item.settled_at is None or job.started_at is None:
            continue
        lane = partial(Delay, job.provider, job.model)
        ended_at = min(filter(None, (item.batch.cancelling_at, item.batch.expires_at)))
        if item.status == BatchItem.Status.COMPLETED:
            found.append(lane("batch", (item.settled_at - job.started_at).total_seconds()))
        elif item.status in (BatchItem.Status.EXPIRED, BatchItem.Status.CANCELLED):
            waited = (min(ended_at, item.settled_at) - job.started_at).total_seconds()
            found.append(lane("batch", max(0.0, waited), is_answered=False))
            found.append(lane(TAKEN_BACK, max(0.0, (item.settled_at - ended_at).total_seconds())))
    learn(found)


def _end_line(job: DeferredJob) -> None:
    """The job as its line has ended: answered, refused by the provider, cancelled; else on its way to real time."""
    item = job.item
    assert item is not None
    if item.status == BatchItem.Status.COMPLETED:
        job.status, job.response = Status.COMPLETED, item.response
        job.cost_usd, job.list_cost_usd = item.cost_usd, item.list_cost_usd
        job.input_tokens, job.output_tokens = item.input_tokens, item.output_tokens
    elif money.is_refused(error := item.error or {}):
        job.status, job.error = Status.FAILED, _refusal(error)
    elif job.cancel_asked_at is not None or job.is_refresh:
        job.status, job.finished_at = Status.CANCELLED, item.settled_at
        return  # its hold is given back next
    else:
        _move_up(job, item, why=error.get("code", "no answer"))
        return
    job.finished_at, job.is_held = item.settled_at, False


def _move_up(job: DeferredJob, item: BatchItem, *, why: str) -> None:
    job.status, job.lane, job.body, job.item, job.started_at = Status.QUEUED, "online", item.body, None, None
    job.steps = [*job.steps, {"step": "deferred", "outcome": "online", "reason": why, "batch_line": item.pk}]


def _refusal(error: dict[str, Any]) -> dict[str, Any]:
    return {name: error.get(name) for name in ("code", "message", "status")}
