"""Removes the contents of files that nobody needs: of deleted and old files, and what killed uploads left.

Invariant: a row forgets its content only after that is removed, so that a sweep which is killed is done again; a content that an
unfinished batch reads stays.
"""

from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from llm.models import Batch, StoredFile
from tenants import contents

LONGEST_ARRIVAL: Final = timedelta(hours=2)  # the slowest sender and the longest check take a part of it
CHUNK: Final = 500
OVER: Final = (Batch.Status.COMPLETED, Batch.Status.FAILED, Batch.Status.EXPIRED, Batch.Status.CANCELLED)

log = structlog.get_logger(__name__)


def sweep() -> int:
    """Remove what is left of uploads that ended halfway, and the contents of deleted files; how many."""
    lost = Q(status=StoredFile.Status.ARRIVING, created_at__lt=timezone.now() - LONGEST_ARRIVAL)
    wanted = _unneeded().filter(~Q(location="") & (lost | Q(deleted_at__isnull=False)))
    removed, last = 0, 0
    while files := list(wanted.filter(pk__gt=last).order_by("pk")[:CHUNK]):
        last = files[-1].pk
        removed += sum(map(_remove, files))
    StoredFile.objects.filter(
        status=StoredFile.Status.ARRIVING, location="", deleted_at__isnull=False
    ).delete()
    return removed


def delete_old(*, before: datetime) -> int:
    """Delete the files of before; their contents are swept. How many."""
    old = (
        _unneeded().filter(created_at__lt=before, deleted_at=None).exclude(status=StoredFile.Status.ARRIVING)
    )
    return old.update(deleted_at=timezone.now())


def _unneeded() -> QuerySet[StoredFile]:
    in_use = Batch.objects.filter(input_file=OuterRef("pk")).exclude(status__in=OVER)
    return StoredFile.objects.filter(~Exists(in_use))


def _remove(file: StoredFile) -> bool:
    """Remove one content; whether it is gone. A storage that fails is asked again at the next sweep."""
    try:
        contents.remove(file.tenant_id, file.location)
    except Exception as error:
        log.warning("file_content_not_removed", file=file.public_id, error=type(error).__name__)
        return False
    StoredFile.objects.filter(pk=file.pk).update(location="", deleted_at=file.deleted_at or timezone.now())
    return True
