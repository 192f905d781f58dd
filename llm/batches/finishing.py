"""The end of a batch: its output and error files, in the client's own shape.

Invariant: the files are shown and the final state is set in one transaction; every line of the input is in exactly one of
them. They are written row by row; what a killed worker has written is swept.
"""

from collections.abc import Iterable
from typing import Any

import orjson
from django.db import transaction
from django.utils import timezone

from llm.files.stored import new_file_id
from llm.models import Batch, BatchItem, StoredFile
from tenants import contents

CHUNK = 500


def finish(batch: Batch) -> None:
    """Write the files and put the batch into its final state."""
    answered = batch.items.filter(status=BatchItem.Status.COMPLETED).order_by("line")
    unanswered = batch.items.exclude(status=BatchItem.Status.COMPLETED).order_by("line")
    expired = batch.items.filter(status=BatchItem.Status.EXPIRED).exists()
    now = timezone.now()
    files: list[StoredFile | None] = []
    if not batch.is_gathered:  # else each job has its answer
        files = [
            new_file(batch, name="output", rows=(answer_row(item) for item in answered.iterator(CHUNK))),
            new_file(batch, name="errors", rows=(error_row(item) for item in unanswered.iterator(CHUNK))),
        ]
        batch.output_file, batch.error_file = files
    with transaction.atomic():
        keep_files(files)
        if batch.cancelling_at:
            batch.status, batch.cancelled_at = Batch.Status.CANCELLED, now
        elif expired:
            batch.status, batch.expired_at = Batch.Status.EXPIRED, now
        else:
            batch.status, batch.completed_at = Batch.Status.COMPLETED, now
        batch.save()


def new_file(batch: Batch, *, name: str, rows: Iterable[bytes]) -> StoredFile | None:
    """Write rows into the storage, as a file that nobody sees before `keep_files`; none where there are no rows."""
    with contents.spool() as content:
        size = sum(content.write(row + b"\n") for row in rows)
        if not size:
            return None
        file = StoredFile.objects.create(
            public_id=new_file_id(),
            tenant_id=batch.tenant_id,
            key_id=batch.key_id,
            purpose="batch_output",
            filename=f"{batch.public_id}_{name}.jsonl",
            bytes=size,
            status=StoredFile.Status.ARRIVING,
            location=contents.new_location(batch.tenant_id),
            created_at=timezone.now(),
        )
        contents.save(batch.tenant_id, file.location, content)
    return file


def keep_files(files: Iterable[StoredFile | None]) -> None:
    """Show files that were written, within the transaction of what they belong to."""
    pks = [file.pk for file in files if file is not None]
    StoredFile.objects.filter(pk__in=pks).update(status=StoredFile.Status.PROCESSED)


def answer_row(item: BatchItem) -> bytes:
    """A line of the output file."""
    return _row(item, response=_response(item, status=200, body=item.response), error=None)


def error_row(item: BatchItem) -> bytes:
    """A line of the error file: what the provider answered, or why the line was never answered."""
    error = item.error or {"code": f"batch_{item.status}", "message": f"The line was {item.status}."}
    detail = {"code": error["code"], "message": error["message"]}
    if status := error.get("status"):
        return _row(
            item,
            response=_response(item, status=status, body={"error": {**detail, "param": None}}),
            error=None,
        )
    return _row(item, response=None, error=detail)


def _response(item: BatchItem, *, status: int, body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": str(item.request_id), "body": body}


def _row(item: BatchItem, *, response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    name = f"batch_req_{item.request_id.hex}"
    return orjson.dumps({"id": name, "custom_id": item.custom_id, "response": response, "error": error})
