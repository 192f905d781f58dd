"""Deletes what has been kept long enough: logs of requests, answers to idempotency keys, texts of finished batches,
deferred calls.

Invariant: only copies and texts go; the ledger keeps every figure. A file is erased only when no batch needs
it.
"""

from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from llm import request_days
from llm.batches.turns import UNFINISHED
from llm.files import sweeping
from llm.models import (
    Batch,
    BatchItem,
    DeferredJob,
    IdempotentCall,
    KeptItem,
    KeptResponse,
    RequestLog,
    StoredChat,
)

LOG_AGE: Final = timedelta(days=90)
DAYS_AGE: Final = timedelta(days=400)
RESPONSE_AGE: Final = timedelta(days=30)  # as long as OpenAI keeps them
BATCH_AGE: Final = timedelta(days=30)
JOB_AGE: Final = timedelta(days=30)
IDEMPOTENCY_AGE: Final = timedelta(hours=24)
CHUNK: Final = 5_000


def prune() -> dict[str, int]:
    """Delete and erase what is past its age; how many rows of each."""
    now = timezone.now()
    finished = Batch.objects.exclude(status__in=UNFINISHED).filter(created_at__lt=now - BATCH_AGE)
    return {
        "logs": _delete_logs(before=now - LOG_AGE),
        "request_days": request_days.prune_days(before=(now - DAYS_AGE).date()),
        "stored_chats": _delete_stored_chats(before=now - RESPONSE_AGE),
        "kept_responses": _delete_kept(KeptResponse, before=now - RESPONSE_AGE),
        "kept_items": _delete_kept(KeptItem, before=now - RESPONSE_AGE),
        "deferred_jobs": _delete_jobs(before=now - JOB_AGE),
        "old_files": sweeping.delete_old(before=now - BATCH_AGE),
        "swept_files": sweeping.sweep(),
        "batch_lines": BatchItem.objects.filter(batch__in=finished)
        .exclude(body={})
        .update(body={}, sent_body=None, plan={}, remembered=None, response=None),
    }


def prune_idempotent_calls() -> int:
    """Delete the answers that were kept for a day; work in progress stays. How many."""
    now = timezone.now()
    old = IdempotentCall.objects.filter(
        Q(state=IdempotentCall.State.DONE) | Q(leased_until__lt=now), created_at__lt=now - IDEMPOTENCY_AGE
    )
    total = 0
    while pks := list(old.values_list("pk", flat=True)[:CHUNK]):
        total += old.filter(pk__in=pks).delete()[0]
    return total


def _delete_kept(model: type[KeptItem] | type[KeptResponse], *, before: object) -> int:
    total = 0
    while pks := list(model.objects.filter(created_at__lt=before).values_list("pk", flat=True)[:CHUNK]):
        total += model.objects.filter(pk__in=pks).delete()[0]
    return total


def _delete_jobs(*, before: object) -> int:
    """Delete the deferred calls that were over before; what is open stays."""
    total = 0
    old = DeferredJob.objects.filter(finished_at__lt=before)
    while pks := list(old.values_list("pk", flat=True)[:CHUNK]):
        total += old.filter(pk__in=pks).delete()[0]
    return total


def _delete_stored_chats(*, before: object) -> int:
    total = 0
    while pks := list(StoredChat.objects.filter(created_at__lt=before).values_list("pk", flat=True)[:CHUNK]):
        total += StoredChat.objects.filter(pk__in=pks).delete()[0]
    return total


def _delete_logs(*, before: object) -> int:
    """Delete in chunks, so that no transaction is long and none locks much."""
    total = 0
    while pks := list(RequestLog.objects.filter(at__lt=before).values_list("pk", flat=True)[:CHUNK]):
        total += RequestLog.objects.filter(pk__in=pks).delete()[0]
    return total
