"""Forgets what has been kept long enough: logs of requests, and the texts of finished batches.

Invariant: only copies and texts go; the ledger keeps every figure. A file is erased only when no batch needs
it.
"""

from datetime import timedelta
from typing import Final

from django.db.models import Exists, OuterRef
from django.utils import timezone

from llm.batches.driver import UNFINISHED
from llm.models import Batch, BatchItem, RequestLog, StoredFile

LOG_AGE: Final = timedelta(days=90)
BATCH_AGE: Final = timedelta(days=30)
CHUNK: Final = 5_000


def prune() -> dict[str, int]:
    """Delete and erase what is past its age; how many rows of each."""
    now = timezone.now()
    in_use = Batch.objects.filter(input_file=OuterRef("pk"), status__in=UNFINISHED)
    erasable = StoredFile.objects.filter(~Exists(in_use)).exclude(content=b"")
    finished = Batch.objects.exclude(status__in=UNFINISHED).filter(created_at__lt=now - BATCH_AGE)
    return {
        "logs": _delete_logs(before=now - LOG_AGE),
        "deleted_files": erasable.filter(deleted_at__isnull=False).update(content=b""),
        "old_files": erasable.filter(created_at__lt=now - BATCH_AGE).update(content=b"", deleted_at=now),
        "batch_lines": BatchItem.objects.filter(batch__in=finished)
        .exclude(body={})
        .update(body={}, response=None),
    }


def _delete_logs(*, before: object) -> int:
    """Delete in chunks, so that no transaction is long and none locks much."""
    total = 0
    while pks := list(RequestLog.objects.filter(at__lt=before).values_list("pk", flat=True)[:CHUNK]):
        total += RequestLog.objects.filter(pk__in=pks).delete()[0]
    return total
