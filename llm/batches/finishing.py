"""The end of a batch: its output and error files, in the client's own shape.

Invariant: the files and the final state are one transaction; every line of the input is in exactly one of
them.
"""

from collections.abc import Iterable
from typing import Any

import orjson
from django.db import transaction
from django.utils import timezone

from llm.batches.files import new_file_id
from llm.models import Batch, BatchItem, StoredFile

CHUNK = 500


def finish(batch: Batch) -> None:
    """Write the files and put the batch into its final state."""
    answered = batch.items.filter(status=BatchItem.Status.COMPLETED).order_by("line")
    unanswered = batch.items.exclude(status=BatchItem.Status.COMPLETED).order_by("line")
    expired = batch.items.filter(status=BatchItem.Status.EXPIRED).exists()
    now = timezone.now()
    with transaction.atomic():
        if not batch.is_gathered:  # else each job has its answer
            batch.output_file = new_file(
                batch, name="output", rows=(answer_row(item) for item in answered.iterator(CHUNK))
            )
            batch.error_file = new_file(
                batch, name="errors", rows=(error_row(item) for item in unanswered.iterator(CHUNK))
            )
        if batch.cancelling_at:
            batch.status, batch.cancelled_at = Batch.Status.CANCELLED, now
        elif expired:
            batch.status, batch.expired_at = Batch.Status.EXPIRED, now
        else:
            batch.status, batch.completed_at = Batch.Status.COMPLETED, now
        batch.save()


def new_file(batch: Batch, *, name: str, rows: Iterable[bytes]) -> StoredFile | None:
    """Keep rows as a file of the batch's tenant; none where there are no rows."""
    content = b"\n".join(rows)
    if not content:
        return None
    content += b"\n"
    return StoredFile.objects.create(
        public_id=new_file_id(),
        tenant_id=batch.tenant_id,
        key_id=batch.key_id,
        purpose="batch_output",
        filename=f"{batch.public_id}_{name}.jsonl",
        bytes=len(content),
        content=content,
        created_at=timezone.now(),
    )


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
