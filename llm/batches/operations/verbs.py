"""What an operator, or a tenant's owner, does with a batch: cancel it, have it looked at again, try its failed lines again.

Invariant: a verb is one transaction with its author in the admin's log, applies where `may_...` says so, and does nothing the
second time. It only writes down what is wanted; the driver does it.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.timezone import now

from billing.models import AlertRule, Attempt
from llm.batches.sending.retries import send_again
from llm.catalog.loading import load_snapshot
from llm.models import Batch, BatchItem, BatchJob, BatchProgress, RequestLog
from llm.models.batch_progress import FAILED

CANCELLABLE: Final = (Batch.Status.VALIDATING, Batch.Status.IN_PROGRESS)
RUNNING: Final = (Batch.Status.IN_PROGRESS, Batch.Status.CANCELLING)
RETRIED_WITHIN: Final = timedelta(days=3)  # its month may be closed soon
RETRY_FOR: Final = timedelta(hours=24)
CHUNK: Final = 500

log = structlog.get_logger(__name__)


def may_cancel(batch: Batch) -> bool:
    """Not one that was gathered of deferred calls: each of those is cancelled by itself."""
    return batch.status in CANCELLABLE and not batch.is_gathered


def cancel(batch: Batch, *, acting_user: User) -> bool:
    """Ask for the batch to be cancelled; whether it was not asked for, and not over, before."""

    def change() -> str:
        open_ones = Batch.objects.filter(pk=batch.pk, status__in=CANCELLABLE).exclude(input_file=None)
        done = open_ones.update(status=Batch.Status.CANCELLING, cancelling_at=now())
        return "Asked for it to be cancelled." if done else ""

    return _noted(batch, change, acting_user=acting_user)


def may_requeue(batch: Batch) -> bool:
    """Whether a job of it would be looked at later, or was looked at in vain."""
    return batch.status in RUNNING and batch.jobs.filter(_waiting()).exists()


def requeue(batch: Batch, *, acting_user: User) -> bool:
    """Have each open job of the batch looked at by the next worker that is free, as if no call had failed.

    Nothing is sent twice by it: a job whose submission is uncertain is looked up at its provider first. If the batch is
    stuck again, that is news again.
    """

    def change() -> str:
        jobs = BatchJob.objects.filter(_waiting(), batch=batch, batch__status__in=RUNNING)
        done = jobs.update(next_look_at=None, failures=0)
        if not done:
            return ""
        for progress in BatchProgress.objects.select_for_update().filter(batch=batch):
            progress.stuck = ""
            told = AlertRule.Metric.BATCH_STUCK
            progress.notified = [name for name in progress.notified if not name.startswith(told)]
            progress.save(update_fields=["stuck", "notified"])
        return f"Had {done} of its jobs looked at again."

    return _noted(batch, change, acting_user=acting_user)


def may_retry(batch: Batch) -> bool:
    """Whether it is over, not for long, and has failed lines that cost nothing and hold nothing."""
    return _is_retriable(batch) and _retriable(batch).exists()


def retry_failed(batch: Batch, *, acting_user: User) -> bool:
    """Open an ended batch again for its failed lines, for another day; whether there were any.

    Each gets another attempt, held before it is sent. Answered lines stay as they are; the files are written anew at the end.
    """

    def change() -> str:
        locked = Batch.objects.select_for_update().get(pk=batch.pk)
        lines = _plan_again(locked) if _is_retriable(locked) else 0
        if not lines:
            return ""
        locked.status, locked.expires_at = Batch.Status.IN_PROGRESS, max(locked.expires_at, now() + RETRY_FOR)
        locked.completed_at = locked.expired_at = locked.finalizing_at = None
        locked.output_file = locked.error_file = None  # both stay as files of the tenant
        locked.save()
        BatchProgress.objects.filter(batch=batch).update(stuck="", notified=[])
        return f"Had {lines} failed lines tried again."

    return _noted(batch, change, acting_user=acting_user)


def _is_retriable(batch: Batch) -> bool:
    is_over = batch.status in {Batch.Status.COMPLETED, Batch.Status.EXPIRED}
    return is_over and not batch.is_gathered and batch.created_at > now() - RETRIED_WITHIN


def _retriable(batch: Batch) -> QuerySet[BatchItem]:
    attempts = Attempt.objects.filter(pk=OuterRef("attempt_id")).exclude(state=Attempt.State.VOIDED)
    return batch.items.filter(~Exists(attempts), status__in=FAILED)


def _plan_again(batch: Batch) -> int:
    """Have the failed lines planned anew, and those that wait for an equal one wait again; how many."""
    snapshot = load_snapshot(batch.tenant_id)
    planned, last = 0, 0
    while items := list(_retriable(batch).filter(leader=None, line__gt=last).order_by("line")[:CHUNK]):
        last = items[-1].line
        again = send_again(batch, items, snapshot=snapshot)
        names = [item.pk for item in again]
        BatchItem.objects.filter(pk__in=names).update(settled_at=None, error=None)
        # the row of the log is written when a line is over, once
        RequestLog.objects.filter(request_id__in=[item.request_id for item in again], feedback=None).delete()
        planned += len(again)
    followers = _retriable(batch).filter(leader__status=BatchItem.Status.PLANNED)
    return planned + followers.update(status=BatchItem.Status.WAITING, settled_at=None, error=None)


def _waiting() -> Q:
    """Of jobs that wait for their next look, or whose calls have failed."""
    is_late = Q(failures__gt=0) | Q(next_look_at__gt=now())
    return ~Q(state=BatchJob.State.FINISHED) & is_late


def _noted(batch: Batch, change: Callable[[], str], *, acting_user: User) -> bool:
    """Do it, and write down who did it, if there was anything to do."""
    with transaction.atomic():
        message = change()
        if message:
            LogEntry.objects.create(
                user=acting_user,
                content_type=ContentType.objects.get_for_model(Batch),
                object_id=str(batch.pk),
                object_repr=str(batch)[:200],
                action_flag=CHANGE,
                change_message=message,
            )
    if message:
        log.info("batch_operated", batch=batch.public_id, user=acting_user.get_username(), did=message)
    return bool(message)
