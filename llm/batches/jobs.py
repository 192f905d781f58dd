"""A batch's jobs at its providers: submitted once, polled until they are over, collected line by line.

Invariant: `submitting` is committed before the provider is asked. A worker that finds a job in that state looks
it up there before it sends anything again; a line is settled once, whichever steps are repeated.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal

import structlog
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from config.database import storable
from llm.batches import money
from llm.batches.logs import log_lines
from llm.batches.plans import remembered
from llm.batches.plans.accounts import batch_api, batches_wait
from llm.batches.plans.writing import plain, save_items
from llm.batches.sending import real_time, retries, splitting
from llm.batches.sending.orders import as_id, order_of
from llm.batches.turns import Turn
from llm.catalog.loading import load_snapshot
from llm.models import Batch, BatchItem, BatchJob, Lane
from llm.providers.kinds.batch_api import (
    BatchApi,
    LineResult,
    NotCertainError,
    NotSubmittedError,
    TooLargeError,
    UpstreamError,
)

log = structlog.get_logger(__name__)

CHUNK: Final = 200  # results settled at a time
FIRST_LOOK: Final = timedelta(seconds=1)
LONGEST_WAIT: Final = timedelta(minutes=1)
LONGEST_BACKOFF: Final = timedelta(minutes=10)
WAIT_FOR_ROOM: Final = timedelta(seconds=15)  # at an account that has enough queued
CERTAIN_AFTER: Final = timedelta(seconds=30)  # by then a provider lists what it has taken
GIVE_UP_AFTER: Final = timedelta(hours=24)  # beyond the batch's own end; what is still held is estimated then

ACCOUNT_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('llm_batchjob.' || %s, 0))"


def advance(batch: Batch, turn: Turn) -> bool:
    """Take the batch one step on: its lines that go out again, every due job, and the answers that come from memory. Whether
    there is more to do immediately."""
    now = timezone.now()
    is_ending = batch.status == Batch.Status.CANCELLING or now >= batch.expires_at
    if is_ending:
        _release_unsubmitted(batch)
    elif not _give_jobs(batch, turn):
        return False
    is_more = False
    due = Q(next_look_at=None) | Q(next_look_at__lte=now)
    for job in batch.jobs.exclude(state=BatchJob.State.FINISHED).filter(due):
        job.batch = batch
        try:
            is_more = _advance(job, batch=batch, turn=turn, is_ending=is_ending, now=now) or is_more
        except UpstreamError as error:
            _put_off(job, error=error)
        except ObjectDoesNotExist as error:  # the provider or the model was deleted
            _put_off(job, error=UpstreamError(str(error), is_final=True))
        if turn.is_over():
            return False
    is_more = remembered.follow(batch) or is_more
    is_more = remembered.book(batch) or is_more
    is_open = batch.jobs.exclude(state=BatchJob.State.FINISHED).exists()
    if is_open or batch.items.filter(settled_at=None).exists():
        return is_more or (not is_ending and not is_open and _has_work(batch))
    return bool(
        Batch.objects.filter(
            pk=batch.pk, status__in=[Batch.Status.IN_PROGRESS, Batch.Status.CANCELLING]
        ).update(status=Batch.Status.FINALIZING, finalizing_at=timezone.now())
    )


def _has_work(batch: Batch) -> bool:
    """Whether lines wait for nothing but the next step."""
    ready = [BatchItem.Status.PLANNED, BatchItem.Status.HELD, BatchItem.Status.REMEMBERED]
    followers = Q(status=BatchItem.Status.WAITING, leader__settled_at__isnull=False)
    return batch.items.filter(Q(status__in=ready, job=None) | followers, settled_at=None).exists()


def _give_jobs(batch: Batch, turn: Turn) -> bool:
    """Hold lines that are planned again, and give every held line without a job one; whether all are done. What no budget
    affords any more fails."""
    planned = batch.items.filter(status=BatchItem.Status.PLANNED, job=None, settled_at=None).order_by("line")
    snapshot = None
    while items := list(planned[:CHUNK]):
        snapshot = snapshot or load_snapshot(batch.tenant_id)
        for item, refusal in money.hold(batch, items, snapshot=snapshot):
            error = {"status": refusal.status, "code": refusal.code, "message": refusal.message}
            _end([item], batch=batch, status=BatchItem.Status.FAILED, error=error)
        if turn.is_over():
            return False
    splitting.split(batch)
    return True


def _advance(job: BatchJob, *, batch: Batch, turn: Turn, is_ending: bool, now: datetime) -> bool:
    """Take a job a step on; whether there is more to do immediately."""
    if now >= batch.expires_at + GIVE_UP_AFTER:
        _finish(job, status=BatchItem.Status.EXPIRED, code="batch_expired", release=False)
        return False
    sends_more = job.lane == Lane.ONLINE or job.state == BatchJob.State.NEW
    if sends_more and not is_ending and batches_wait(job.provider):
        _save(job, next_look_at=now + LONGEST_WAIT)
        return False
    if job.lane == Lane.ONLINE:
        return _answer(job, batch=batch)
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
    return False


def _answer(job: BatchJob, *, batch: Batch) -> bool:
    """Answer the next lines of a job in real time; whether others can follow immediately."""
    pause = real_time.answer_next(job, batch=batch)
    if pause is None:
        _finish(job, status=BatchItem.Status.FAILED, code="provider_error")
        return False
    _save(job, state=BatchJob.State.SUBMITTED, next_look_at=timezone.now() + pause)
    return not pause


def _submit(job: BatchJob, *, api: BatchApi) -> None:
    limits = splitting.limits_of(job.provider)
    order = order_of(job, submitting_at=timezone.now(), most_bytes=limits.job.bytes)
    try:
        file_id = job.upstream_file_id or api.upload(order)
        if not _begin(job, file_id=file_id, at=order.submitting_at, most_tokens=limits.queued_tokens):
            return
        upstream_id = api.submit(order, file_id=file_id)
    except TooLargeError:
        _save(job, state=BatchJob.State.NEW)
        if not splitting.halve(job):
            raise UpstreamError("The line is larger than the provider takes.", is_final=True) from None
        return
    except UpstreamError as error:
        if not error.may_have_arrived and job.state == BatchJob.State.SUBMITTING:
            _save(job, state=BatchJob.State.NEW)
        raise
    _submitted(job, upstream_id)


def _begin(job: BatchJob, *, file_id: str, at: datetime, most_tokens: int) -> bool:
    """Say that the provider is asked from now on; False where the account has so much queued that the job has to wait."""
    with transaction.atomic():
        if most_tokens:
            with connection.cursor() as cursor:
                cursor.execute(ACCOUNT_LOCK, (f"{job.provider}/{job.model}",))
            others = BatchJob.objects.filter(
                provider=job.provider,
                model=job.model,
                state__in=[BatchJob.State.SUBMITTING, BatchJob.State.SUBMITTED],
            ).exclude(pk=job.pk)
            there = others.aggregate(tokens=Sum("input_tokens"))
            if there["tokens"] and there["tokens"] + job.input_tokens > most_tokens:
                _save(job, upstream_file_id=file_id, next_look_at=timezone.now() + WAIT_FOR_ROOM)
                return False
        money.mark_sent(job)
        _save(job, upstream_file_id=file_id, state=BatchJob.State.SUBMITTING, submitting_at=at)
    return True


def _resolve(job: BatchJob, *, api: BatchApi, is_ending: bool, now: datetime) -> None:
    """Find out whether a job whose answer was lost was taken; only a job that was not is sent again."""
    assert job.submitting_at is not None
    limits = splitting.limits_of(job.provider)
    order = order_of(job, submitting_at=job.submitting_at, most_bytes=limits.job.bytes)
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
        # the provider refused the job as a whole: another account may take it
        _save(job, last_error=storable.text(state.failure)[:1000])
        _finish(
            job,
            status=BatchItem.Status.FAILED,
            code="provider_error",
            message=state.failure,
            again="anywhere",
        )
    elif state.status == "expired" or (not batch.cancelling_at and now >= batch.expires_at):
        _finish(job, status=BatchItem.Status.EXPIRED, code="batch_expired")
    elif batch.cancelling_at:
        _finish(job, status=BatchItem.Status.CANCELLED, code="batch_cancelled")
    else:
        _finish(
            job,
            status=BatchItem.Status.FAILED,
            code="provider_error",
            message="The provider gave no answer.",
            again="anywhere",
        )


def _settle(job: BatchJob, results: Iterable[LineResult]) -> bool:
    """End the lines that are not ended yet; whether the ledger has confirmed all of them. What names no line of this job, or one
    that is over, changes nothing."""
    by_id = {request_id: one for one in results if (request_id := as_id(one.name)) is not None}
    items = list(job.items.filter(request_id__in=list(by_id), settled_at=None))
    return money.settle(job, [(item, by_id[item.request_id]) for item in items])


def _finish(
    job: BatchJob,
    *,
    status: str,
    code: str,
    message: str = "The batch ended before this line was answered.",
    release: bool = True,
    again: Literal["", "anywhere", "elsewhere"] = "",
) -> None:
    """End a job: lines without a result go out again as far as they may, and the others get this status. Their holds are given
    back."""
    batch = job.batch
    snapshot = load_snapshot(job.tenant_id) if again else None
    while items := list(job.items.filter(settled_at=None).order_by("line")[:CHUNK]):
        if release and batch.is_gathered:
            money.wait_again(batch, [item.attempt_id for item in items])
        elif release:
            money.release(items, reason=code)
        sent: list[BatchItem] = []
        if snapshot is not None:
            worthy = [item for item in items if retries.has_tries(item, batch=batch)]
            sent = retries.send_again(batch, worthy, snapshot=snapshot, is_elsewhere=again == "elsewhere")
        left = [item for item in items if item not in sent]
        _end(left, batch=batch, status=status, error={"code": code, "message": message})
    _save(job, state=BatchJob.State.FINISHED, finished_at=timezone.now(), next_look_at=None)


def _end(items: Sequence[BatchItem], *, batch: Batch, status: str, error: dict[str, Any]) -> None:
    """Write down how lines without an answer have ended."""
    now = timezone.now()
    for item in items:
        item.status, item.error, item.settled_at = status, plain(error), now
    save_items(items, ["status", "error", "settled_at"])
    log_lines(batch, items)


def _release_unsubmitted(batch: Batch) -> None:
    """End what no provider has seen: jobs that are still new, lines that go out in real time and have not yet, and lines that
    have no job and no answer."""
    is_cancelled = batch.status == Batch.Status.CANCELLING
    status = BatchItem.Status.CANCELLED if is_cancelled else BatchItem.Status.EXPIRED
    code = "batch_cancelled" if is_cancelled else "batch_expired"
    for job in batch.jobs.filter(state=BatchJob.State.NEW):
        job.batch = batch
        _finish(job, status=status, code=code)
    not_out = Q(job=None) | Q(job__lane=Lane.ONLINE, status=BatchItem.Status.HELD)
    have_no_answer = batch.items.filter(not_out, settled_at=None).exclude(
        status__in=[BatchItem.Status.REMEMBERED, BatchItem.Status.WAITING]
    )
    while items := list(have_no_answer.order_by("line")[:CHUNK]):
        money.release(items, reason=code)
        _end(items, batch=batch, status=status, error={"code": code, "message": "The batch ended."})


def _put_off(job: BatchJob, *, error: UpstreamError) -> None:
    """Write a failed call down and wait longer each time; a job the provider will never take is over."""
    log.warning("batch_api_failed", job=job.public_id, provider=job.provider, error=str(error))
    if error.is_final and job.state == BatchJob.State.NEW:
        _finish(
            job,
            status=BatchItem.Status.FAILED,
            code="provider_error",
            message=str(error),
            again="elsewhere",
        )
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
