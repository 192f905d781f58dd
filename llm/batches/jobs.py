"""A batch's jobs at its providers: submitted once, polled until they are over, collected line by line.

Invariant: `submitting` is committed before the provider is asked. A worker that finds a job in that state looks
it up there before it sends anything again; a line is settled once, whichever steps are repeated.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import structlog
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Q
from django.utils import timezone

from config.database import storable
from llm.batches import money
from llm.batches.accounts import batch_api, order_of
from llm.batches.turns import Turn
from llm.models import Batch, BatchItem, BatchJob
from llm.providers.kinds.batch_api import (
    BatchApi,
    LineResult,
    NotCertainError,
    NotSubmittedError,
    UpstreamError,
)

log = structlog.get_logger(__name__)

CHUNK: Final = 200  # results settled at a time
FIRST_LOOK: Final = timedelta(seconds=1)
LONGEST_WAIT: Final = timedelta(minutes=1)
LONGEST_BACKOFF: Final = timedelta(minutes=10)
CERTAIN_AFTER: Final = timedelta(seconds=30)  # by then a provider lists what it has taken
GIVE_UP_AFTER: Final = timedelta(hours=24)  # beyond the batch's own end; what is still held is estimated then


def advance(batch: Batch, turn: Turn) -> bool:
    """Take every due job of the batch one step on; whether all are over and the batch can be finished."""
    now = timezone.now()
    is_ending = batch.status == Batch.Status.CANCELLING or now >= batch.expires_at
    if is_ending:
        _release_unsubmitted(batch)
    due = Q(next_look_at=None) | Q(next_look_at__lte=now)
    for job in batch.jobs.exclude(state=BatchJob.State.FINISHED).filter(due):
        try:
            _advance(job, batch=batch, turn=turn, is_ending=is_ending, now=now)
        except UpstreamError as error:
            _put_off(job, error=error)
        except ObjectDoesNotExist as error:  # the provider or the model was deleted
            _put_off(job, error=UpstreamError(str(error), is_final=True))
        if turn.is_over():
            return False
    if batch.jobs.exclude(state=BatchJob.State.FINISHED).exists():
        return False
    return bool(
        Batch.objects.filter(
            pk=batch.pk, status__in=[Batch.Status.IN_PROGRESS, Batch.Status.CANCELLING]
        ).update(status=Batch.Status.FINALIZING, finalizing_at=timezone.now())
    )


def _advance(job: BatchJob, *, batch: Batch, turn: Turn, is_ending: bool, now: datetime) -> None:
    if now >= batch.expires_at + GIVE_UP_AFTER:
        _finish(job, status=BatchItem.Status.EXPIRED, code="batch_expired", release=False)
        return
    api = batch_api(job.provider)
    if job.state == BatchJob.State.NEW:
        _submit(job, api=api)
    elif job.state == BatchJob.State.SUBMITTING:
        _resolve(job, api=api, is_ending=is_ending, now=now)
    if job.state == BatchJob.State.SUBMITTED:
        if is_ending and not job.cancel_asked_at:
            api.cancel(job.upstream_id)
            _save(job, cancel_asked_at=now)
        _look(job, api=api, batch=batch, turn=turn)


def _submit(job: BatchJob, *, api: BatchApi) -> None:
    order = order_of(job, submitting_at=timezone.now())
    file_id = job.upstream_file_id or api.upload(order)
    money.mark_sent(job)
    _save(job, upstream_file_id=file_id, state=BatchJob.State.SUBMITTING, submitting_at=order.submitting_at)
    try:
        upstream_id = api.submit(order, file_id=file_id)
    except UpstreamError as error:
        if not error.may_have_arrived:
            _save(job, state=BatchJob.State.NEW)
        raise
    _submitted(job, upstream_id)


def _resolve(job: BatchJob, *, api: BatchApi, is_ending: bool, now: datetime) -> None:
    """Find out whether a job whose answer was lost was taken; only a job that was not is sent again."""
    assert job.submitting_at is not None
    order = order_of(job, submitting_at=job.submitting_at)
    try:
        upstream_id = api.find(order, is_taken=lambda one: _is_taken(job, one))
    except NotCertainError:
        _save(job, next_look_at=now + LONGEST_WAIT)
    except NotSubmittedError:
        if now < job.submitting_at + CERTAIN_AFTER:
            _save(job, next_look_at=job.submitting_at + CERTAIN_AFTER)
        elif is_ending:
            _save(job, state=BatchJob.State.NEW)  # released with the others that were never submitted
        else:
            log.warning("batch_job_submitted_again", job=job.public_id)
            _submit(job, api=api)
    else:
        log.warning("batch_job_found_again", job=job.public_id, upstream_id=upstream_id)
        _submitted(job, upstream_id)


def _is_taken(job: BatchJob, upstream_id: str) -> bool:
    return BatchJob.objects.filter(provider=job.provider, upstream_id=upstream_id).exclude(pk=job.pk).exists()


def _submitted(job: BatchJob, upstream_id: str) -> None:
    now = timezone.now()
    _save(
        job,
        state=BatchJob.State.SUBMITTED,
        upstream_id=upstream_id,
        submitted_at=now,
        next_look_at=now + FIRST_LOOK,
        failures=0,
        last_error="",
    )
    job.items.filter(status=BatchItem.Status.HELD).update(status=BatchItem.Status.SUBMITTED)


def _look(job: BatchJob, *, api: BatchApi, batch: Batch, turn: Turn) -> None:
    state = api.look(job.upstream_id)
    now = timezone.now()
    if not state.is_over:
        assert job.submitted_at is not None
        wait = min(LONGEST_WAIT, max(FIRST_LOOK, (now - job.submitted_at) / 10))
        _save(
            job,
            upstream_status=storable.text(state.status)[:32],
            next_look_at=now + wait,
            failures=0,
            last_error="",
        )
        return
    results = iter(api.results(job.upstream_id))
    is_confirmed = True
    while chunk := list(islice(results, CHUNK)):
        is_confirmed = _settle(job, chunk) and is_confirmed
        if turn.is_over():  # the next turn begins with what is not settled yet
            return
    if not is_confirmed:
        _save(job, next_look_at=now + FIRST_LOOK)
        return
    if state.failure:
        _finish(job, status=BatchItem.Status.FAILED, code="provider_error", message=state.failure)
    elif state.status == "expired" or (not batch.cancelling_at and now >= batch.expires_at):
        _finish(job, status=BatchItem.Status.EXPIRED, code="batch_expired")
    elif batch.cancelling_at:
        _finish(job, status=BatchItem.Status.CANCELLED, code="batch_cancelled")
    else:
        _finish(
            job, status=BatchItem.Status.FAILED, code="provider_error", message="The provider gave no answer."
        )


def _settle(job: BatchJob, results: Iterable[LineResult]) -> bool:
    """End the lines that are not ended yet; whether the ledger has confirmed all of them."""
    by_name = {result.name: result for result in results}
    items = list(job.items.filter(request_id__in=list(by_name), settled_at=None))
    return money.settle(job, [(item, by_name[str(item.request_id)]) for item in items])


def _finish(
    job: BatchJob,
    *,
    status: str,
    code: str,
    message: str = "The batch ended before this line was answered.",
    release: bool = True,
) -> None:
    """End a job: lines without a result get this status, and their holds are given back."""
    left = list(job.items.filter(settled_at=None))
    if release and job.batch.is_gathered:
        money.wait_again(job.batch, [item.attempt_id for item in left])
    elif release:
        money.release(left, reason=code)
    now = timezone.now()
    job.items.filter(settled_at=None).update(
        status=status,
        error=storable.json_value({"code": code, "message": message}),
        settled_at=now,
    )
    _save(job, state=BatchJob.State.FINISHED, finished_at=now, next_look_at=None)


def _release_unsubmitted(batch: Batch) -> None:
    """End what no provider has seen: jobs that are still new, and lines that have no job yet."""
    is_cancelled = batch.status == Batch.Status.CANCELLING
    status = BatchItem.Status.CANCELLED if is_cancelled else BatchItem.Status.EXPIRED
    code = "batch_cancelled" if is_cancelled else "batch_expired"
    for job in batch.jobs.filter(state=BatchJob.State.NEW):
        _finish(job, status=status, code=code)
    jobless = batch.items.filter(job=None, settled_at=None)
    money.release(list(jobless), reason=code)
    jobless.update(
        status=status, error={"code": code, "message": "The batch ended."}, settled_at=timezone.now()
    )


def _put_off(job: BatchJob, *, error: UpstreamError) -> None:
    """Write a failed call down and wait longer each time; a job the provider will never take is over."""
    log.warning("batch_api_failed", job=job.public_id, provider=job.provider, error=str(error))
    if error.is_final and job.state == BatchJob.State.NEW:
        _finish(job, status=BatchItem.Status.FAILED, code="provider_error", message=str(error))
        return
    wait = min(LONGEST_BACKOFF, FIRST_LOOK * 2 ** min(job.failures, 10))
    _save(
        job,
        failures=job.failures + 1,
        last_error=storable.text(str(error))[:1000],
        next_look_at=timezone.now() + wait,
    )


def _save(job: BatchJob, **changes: object) -> None:
    for name, value in changes.items():
        setattr(job, name, value)
    job.save(update_fields=list(changes))
