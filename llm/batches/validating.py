"""The first state of a batch: an uploaded file becomes lines with holds.

Invariant: a file is read line by line; the lines are written down with the ids of their attempts before any is held, so
that a hold is found again after a crash; a batch that is refused keeps no hold.
"""

from itertools import islice
from typing import Any
from uuid import UUID

import orjson
import uuid_utils
from django.db import transaction
from django.db.models import Max, Sum
from django.utils import timezone

from billing.models import Attempt
from llm.batches import money
from llm.batches.checking import MAX_PROBLEMS
from llm.batches.finishing import keep_files, new_file
from llm.batches.lines import BatchLine, LineReader, Problem
from llm.batches.offers import offers
from llm.batches.plans.planning import plan_chunk
from llm.batches.sending.splitting import split
from llm.batches.turns import Turn
from llm.catalog.loading import load_snapshot
from llm.catalog.snapshot import TenantSnapshot
from llm.models import Batch, BatchItem
from tenants import contents
from tenants.contents import ContentMissing
from tenants.errors import ClientError

CHUNK = 500  # lines written or held at a time


def validate(batch: Batch, turn: Turn) -> bool:
    """Read the file, write its lines down, hold each, and start the batch; or refuse it. Whether there is
    more to do."""
    snapshot = load_snapshot(batch.tenant_id)
    if batch.errors:  # a refusal that was not brought to its end
        _refuse(batch)
        return False
    if not _is_read(batch):
        if problems := _write_lines(batch, snapshot, turn):
            _write_refusal(batch, problems)
            _refuse(batch, problems)
            return False
        if turn.is_cut:
            return False
    if not _plan(batch, snapshot, turn):
        return False
    try:
        if not _hold(batch, snapshot, turn):
            return False
    except ClientError as error:
        _write_refusal(batch, [Problem(0, error.code, error.message, error.param)])
        _refuse(batch)
        return False
    _write_bound(batch)
    _start(batch)
    return True


def _is_read(batch: Batch) -> bool:
    """Whether all lines are written down; how many there are is known since the file was uploaded."""
    return 0 < batch.line_count <= batch.items.count()


def _write_lines(batch: Batch, snapshot: TenantSnapshot, turn: Turn) -> list[Problem]:
    """Read the file line by line and write down what is not written yet, until the turn is over. Where there is a problem
    nothing stays, and the problems are returned."""
    assert batch.input_file is not None
    find = offers(snapshot, key_id=batch.key_id, at=timezone.now())
    reader = LineReader(find=find, endpoint=batch.endpoint)
    written = batch.items.aggregate(last=Max("line"))["last"] or 0
    pieces = contents.pieces_of(batch.tenant_id, batch.input_file.location)
    problems: list[Problem] = []
    try:
        found = reader.read(pieces, after=written)
        while len(problems) < MAX_PROBLEMS and (chunk := list(islice(found, CHUNK))):
            problems += [one for one in chunk if isinstance(one, Problem)]
            if problems:
                continue
            _write_items(batch, [one for one in chunk if isinstance(one, BatchLine)])
            if turn.is_over():
                return []
    except ContentMissing:
        problems = [Problem(0, "file_missing", "The content of the input file is not there any more.")]
    if problems:
        batch.items.all().delete()  # none of them is held yet
    else:
        Batch.objects.filter(pk=batch.pk).update(line_count=reader.count)
    return problems[:MAX_PROBLEMS]


def _write_items(batch: Batch, lines: list[BatchLine]) -> None:
    BatchItem.objects.bulk_create(
        [
            BatchItem(
                batch=batch,
                tenant_id=batch.tenant_id,
                line=line.number,
                custom_id=line.custom_id,
                attempt_id=_new_id(),
                request_id=_new_id(),
                model=line.target.model,
                provider=line.target.provider,
                body=line.body,
            )
            for line in lines
        ]
    )


def _plan(batch: Batch, snapshot: TenantSnapshot, turn: Turn) -> bool:
    """Plan every line that is not planned yet; whether all are planned."""
    while plan_chunk(batch, snapshot=snapshot):
        if turn.is_over():
            return False
    return True


def _hold(batch: Batch, snapshot: TenantSnapshot, turn: Turn) -> bool:
    """Hold every line that goes out and is not held yet, or raise what the first refused one was refused with; whether all are
    held."""
    planned = batch.items.filter(status=BatchItem.Status.PLANNED).order_by("line")
    while items := list(planned[:CHUNK]):
        for _, refusal in money.hold(batch, items, snapshot=snapshot):
            raise refusal
        if turn.is_over():
            return False
    return True


def _write_bound(batch: Batch) -> None:
    """Write down what all lines together are held at."""
    attempts = Attempt.objects.filter(pk__in=batch.items.values("attempt_id"))
    Batch.objects.filter(pk=batch.pk).update(upper_bound_usd=attempts.aggregate(usd=Sum("hold_usd"))["usd"])


def _start(batch: Batch) -> None:
    """Let the batch go, and give its held lines jobs; nothing if it was cancelled meanwhile."""
    with transaction.atomic():
        started = Batch.objects.filter(pk=batch.pk, status=Batch.Status.VALIDATING).update(
            status=Batch.Status.IN_PROGRESS, in_progress_at=timezone.now()
        )
        if started:
            split(batch)


def _write_refusal(batch: Batch, problems: list[Problem]) -> None:
    """Write down that the batch is refused and why, before its holds are given back."""
    batch.errors = [problem.to_json() for problem in problems]
    Batch.objects.filter(pk=batch.pk).update(errors=batch.errors)


def _refuse(batch: Batch, problems: list[Problem] | None = None) -> None:
    """Give every hold back and end the batch as failed, with its problems in a file, too."""
    money.release(list(batch.items.filter(settled_at=None)), reason="batch refused")
    now = timezone.now()
    rows = [problem.to_json() for problem in problems] if problems else list(batch.errors)
    error_file = new_file(batch, name="errors", rows=map(_error_row, rows))
    with transaction.atomic():
        keep_files([error_file])
        batch.items.filter(settled_at=None).update(status=BatchItem.Status.CANCELLED, settled_at=now)
        Batch.objects.filter(
            pk=batch.pk, status__in=[Batch.Status.VALIDATING, Batch.Status.CANCELLING]
        ).update(status=Batch.Status.FAILED, failed_at=now, error_file=error_file)


def _error_row(problem: dict[str, Any]) -> bytes:
    error = {"code": problem["code"], "message": problem["message"], "param": problem["param"]}
    return orjson.dumps({"line": problem["line"], "error": error})


def _new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)
