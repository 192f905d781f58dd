"""Whose batch is worked on next: tenants take turns, and so do the batches of a tenant.

Invariant: one process at a time works on a batch, and one on the batches of a tenant: where there are two, a tenant cannot take
both. While another tenant's batch waits, a turn ends after the chunk in hand: fifty thousand lines delay the ten of another
tenant by no more than one turn.
"""

import math
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import (
    Case,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
    Window,
)
from django.db.models.functions import RowNumber
from django.utils import timezone

from config.work import stopping
from llm.models import Batch, BatchJob, BatchTurn

UNFINISHED: Final = (
    Batch.Status.VALIDATING,
    Batch.Status.IN_PROGRESS,
    Batch.Status.FINALIZING,
    Batch.Status.CANCELLING,
)
TURN_SECONDS: Final = 2.0  # of a turn, while others wait
LONGEST_SECONDS: Final = 300.0  # of a turn, though nobody waits: far below the time limit of its queue
MOST_CANDIDATES: Final = 50
_BATCHES: Final = 0x5052  # class of advisory locks; the batch's id is the other half
_TENANTS: Final = 0x5053  # the same for those whose turn it is; with the tenant's id
_IDLE: Final = f"""
NOT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((classid = {_BATCHES} AND objid = (llm_batch.id %% 2147483648)::oid)
        OR (classid = {_TENANTS} AND objid = (llm_batch.tenant_id %% 2147483648)::oid)))
"""


@dataclass(slots=True)
class Turn:
    """Time to work on one batch. Whoever works on it asks after each chunk whether it is over."""

    tenant_id: int = 0
    ends_at: float = math.inf
    ends_anyway_at: float = math.inf
    is_cut: bool = False

    @classmethod
    def begun(cls, tenant_id: int) -> "Turn":
        now = time.monotonic()
        return cls(tenant_id, now + TURN_SECONDS, now + LONGEST_SECONDS)

    def is_over(self) -> bool:
        """Whether to stop here, though there is more to do: its time is up and another tenant waits, or the worker stops."""
        now = time.monotonic()
        if now < self.ends_at and not stopping.is_asked():
            return False
        if (
            now < self.ends_anyway_at
            and not stopping.is_asked()
            and not waiting().exclude(tenant_id=self.tenant_id).exists()
        ):
            self.ends_at = now + TURN_SECONDS
            return False
        self.is_cut = True
        return True


def due(*, now: datetime | None = None) -> QuerySet[Batch]:
    """Batches for which there is something to do."""
    now = now or timezone.now()
    open_jobs = BatchJob.objects.filter(batch=OuterRef("pk")).exclude(state=BatchJob.State.FINISHED)
    due_jobs = open_jobs.filter(Q(next_look_at=None) | Q(next_look_at__lte=now))
    return Batch.objects.filter(status__in=UNFINISHED).filter(Exists(due_jobs) | ~Exists(open_jobs))


def waiting() -> QuerySet[Batch]:
    """Those of them of which a worker could take one: nobody works on it, nor for its tenant."""
    return due().extra(where=[_IDLE])  # noqa: S610 a constant


@contextmanager
def next_turn(*, without: Collection[int] = ()) -> Iterator[tuple[int, Turn] | None]:
    """The batch whose turn it is, ours while the block runs, and the turn; None where nothing waits."""
    for batch_id, tenant_id in _in_turn(without):
        with _locked(_TENANTS, tenant_id) as is_our_turn, only_driver(batch_id) as is_ours:
            if is_our_turn and is_ours:
                BatchTurn.objects.update_or_create(
                    tenant_id=tenant_id, defaults={"at": timezone.now(), "batch_id": batch_id}
                )
                yield batch_id, Turn.begun(tenant_id)
                return
    yield None


def only_driver(batch_id: int) -> AbstractContextManager[bool]:
    """Have a batch for ourselves while the block runs; whether we got it."""
    return _locked(_BATCHES, batch_id)


@contextmanager
def _locked(lock_class: int, number: int) -> Iterator[bool]:
    """Hold an advisory lock, which ends with the connection; whether we got it."""
    key = (lock_class, number % 2**31)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)


def _in_turn(without: Collection[int]) -> list[tuple[int, int]]:
    """Batches and their tenants: of each tenant the next one, the tenant first whose last turn is longest ago."""
    last = BatchTurn.objects.filter(tenant=OuterRef("tenant"))
    was_before = Case(
        When(pk__lte=F("last_batch"), then=Value(1)), default=Value(0), output_field=IntegerField()
    )
    return list(
        waiting()
        .exclude(pk__in=without)
        .annotate(last_at=Subquery(last.values("at")), last_batch=Subquery(last.values("batch_id")))
        .annotate(
            place=Window(RowNumber(), partition_by="tenant_id", order_by=[was_before.asc(), F("pk").asc()])
        )
        .order_by("place", F("last_at").asc(nulls_first=True), "pk")
        .values_list("pk", "tenant_id")[:MOST_CANDIDATES]
    )
