"""Drives batches from one state to the next until they are over.

Invariant: one worker at a time drives a batch; every step is committed before the next begins and can be
repeated, so that another worker can take over from one that was killed, and does nothing twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import structlog
from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from llm.batches import jobs, validating
from llm.batches.finishing import finish
from llm.models import Batch, BatchJob

log = structlog.get_logger(__name__)

UNFINISHED: Final = (
    Batch.Status.VALIDATING,
    Batch.Status.IN_PROGRESS,
    Batch.Status.FINALIZING,
    Batch.Status.CANCELLING,
)
MOST_STEPS: Final = 20  # in one go; a batch that wants more is driven on at the next tick
_LOCK_CLASS: Final = 0x5052  # of the advisory locks; the batch's id is the other half


def due_batches(*, now: datetime | None = None) -> list[int]:
    """The ids of batches for which there is something to do."""
    now = now or timezone.now()
    open_jobs = BatchJob.objects.filter(batch=OuterRef("pk")).exclude(state=BatchJob.State.FINISHED)
    due_jobs = open_jobs.filter(Q(next_look_at=None) | Q(next_look_at__lte=now))
    due = Batch.objects.filter(status__in=UNFINISHED).filter(Exists(due_jobs) | ~Exists(open_jobs))
    return list(due.order_by("pk").values_list("pk", flat=True))


def drive(batch_id: int) -> None:
    """Take a batch as far as it goes now. Returns immediately when another worker drives it."""
    with _only_driver(batch_id) as is_ours:
        for _ in range(MOST_STEPS if is_ours else 0):
            batch = Batch.objects.select_related("tenant", "input_file").get(pk=batch_id)
            before = batch.status
            if not _step(batch):
                return
            log.info("batch_advanced", batch=batch.public_id, tenant=batch.tenant.slug, was=before)


def _step(batch: Batch) -> bool:
    """Do what the batch's state asks for; whether there may be more to do immediately."""
    match batch.status:
        case Batch.Status.VALIDATING:
            return validating.validate(batch)
        case Batch.Status.IN_PROGRESS | Batch.Status.CANCELLING:
            return jobs.advance(batch)
        case Batch.Status.FINALIZING:
            finish(batch)
    return False


@contextmanager
def _only_driver(batch_id: int) -> Iterator[bool]:
    """Hold the batch's advisory lock, which ends with the connection; whether we got it."""
    key = (_LOCK_CLASS, batch_id % 2**31)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
