"""Drives batches from one state to the next until they are over.

Invariant: one worker at a time drives a batch; every step is committed before the next begins and can be
repeated, so that another worker can take over from one that was killed, and does nothing twice.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from llm.batches import jobs, validating
from llm.batches.finishing import finish
from llm.batches.turns import Turn, due, next_turn, only_driver, waiting
from llm.models import Batch

log = structlog.get_logger(__name__)

MOST_STEPS: Final = 20  # in one go; a batch that wants more is driven on at the next tick


def due_batches(*, now: datetime | None = None) -> list[int]:
    """The ids of batches for which there is something to do."""
    return list(due(now=now).order_by("pk").values_list("pk", flat=True))


def count_waiting(*, most: int) -> int:
    """How many batches wait for a worker, up to so many."""
    return waiting().order_by()[:most].count()


def take_turns() -> Iterator[int]:
    """Work on the batches that wait, tenant after tenant, until none does; each one's id after its turn.

    A batch of which nothing more can be done now gets no second turn here.
    """
    driven = set[int]()
    while True:
        with next_turn(without=driven) as found:
            if found is None:
                return
            batch_id, turn = found
            try:
                _drive(batch_id, turn)
            except SoftTimeLimitExceeded:
                raise
            except Exception:  # the turns of the others go on
                log.exception("batch_not_advanced", batch=batch_id)
                turn.is_cut = False
        if not turn.is_cut:
            driven.add(batch_id)
        yield batch_id


def drive(batch_id: int) -> None:
    """Take a batch as far as it goes now. Returns immediately when another worker drives it."""
    with only_driver(batch_id) as is_ours:
        if is_ours:
            _drive(batch_id, Turn())


def _drive(batch_id: int, turn: Turn) -> None:
    for _ in range(MOST_STEPS):
        batch = Batch.objects.select_related("tenant", "input_file").get(pk=batch_id)
        before = batch.status
        if not _step(batch, turn):
            return
        log.info("batch_advanced", batch=batch.public_id, tenant=batch.tenant.slug, was=before)
        if turn.is_over():
            return


def _step(batch: Batch, turn: Turn) -> bool:
    """Do what the batch's state asks for; whether there may be more to do immediately."""
    match batch.status:
        case Batch.Status.VALIDATING:
            return validating.validate(batch, turn)
        case Batch.Status.IN_PROGRESS | Batch.Status.CANCELLING:
            return jobs.advance(batch, turn)
        case Batch.Status.FINALIZING:
            finish(batch)
    return False
