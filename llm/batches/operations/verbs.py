"""What an operator, or a tenant's owner, does with a batch: cancel it, have it looked at again.

Invariant: a verb is one transaction with its author in the admin's log, applies where `may_...` says so, and does nothing the
second time. It only writes down what is wanted; the driver does it.
"""

from collections.abc import Callable
from typing import Final

import structlog
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from billing.models import AlertRule
from llm.models import Batch, BatchJob, BatchProgress

CANCELLABLE: Final = (Batch.Status.VALIDATING, Batch.Status.IN_PROGRESS)
RUNNING: Final = (Batch.Status.IN_PROGRESS, Batch.Status.CANCELLING)

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
