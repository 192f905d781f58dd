"""Batches as their tables have them, in any state, without a provider."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.utils.timezone import now

from billing.models import Attempt
from llm.batches.operations import counting
from llm.models import Batch, BatchItem, BatchJob, BatchProgress, StoredFile
from tenants.models import Tenant

ERROR = {"code": "server_error", "message": "The provider's own words."}


def make_batch(
    tenant: Tenant,
    *,
    status: str = "in_progress",
    lines: Mapping[str, int] | None = None,
    jobs: Sequence[dict[str, Any]] = (),
    is_gathered: bool = False,
    **fields: Any,
) -> Batch:
    """A batch with so many lines of each status, all of its first job; an open line holds half a dollar."""
    at = fields.pop("created_at", now())
    lines = lines or {}
    file = None
    if not is_gathered:
        file = StoredFile.objects.create(
            public_id=f"file-{uuid4().hex}", tenant=tenant, key_id=1, purpose="batch", filename="lines.jsonl",
            bytes=2, created_at=at,
        )  # fmt: skip
    batch = Batch.objects.create(
        public_id=f"batch_{uuid4().hex}", tenant=tenant, key_id=1, endpoint="/v1/chat/completions", status=status,
        input_file=file, line_count=sum(lines.values()), created_at=at, expires_at=at + timedelta(days=1), **fields,
    )  # fmt: skip
    made = [
        BatchJob.objects.create(
            **{"provider": "openai", "model": "gpt-4o", "state": "submitted"} | job,
            public_id=f"batchjob_{uuid4().hex}",
            batch=batch,
            tenant=tenant,
        )
        for job in jobs
    ]
    numbers = iter(range(1, batch.line_count + 1))
    items = [
        _item(batch, line=next(numbers), status=status, job=made[0] if made else None)
        for status, count in lines.items()
        for _ in range(count)
    ]
    BatchItem.objects.bulk_create(items, batch_size=1000)
    Attempt.objects.bulk_create(
        [
            _attempt(item)
            for item in items
            if item.settled_at is None and item.status in {"held", "submitted"}
        ],
        batch_size=1000,
    )
    return batch


def counted(batch: Batch, **moment: Any) -> BatchProgress:
    """The batch's progress, counted now."""
    counting.count([batch.pk], **moment)
    return BatchProgress.objects.get(pk=batch.pk)


def _item(batch: Batch, *, line: int, status: str, job: BatchJob | None) -> BatchItem:
    is_over = status in {"completed", "failed", "expired", "cancelled"}
    is_answered = status == "completed"
    return BatchItem(
        batch=batch, job=job, tenant=batch.tenant, line=line, custom_id=f"line-{line}", attempt_id=uuid4(), request_id=uuid4(),
        model="gpt-4o", provider="openai", status=status, body={"messages": []}, settled_at=now() if is_over else None,
        error=ERROR if is_over and not is_answered else None,
        cost_usd=Decimal("0.25") if is_answered else 0, list_cost_usd=Decimal("0.5") if is_answered else 0,
    )  # fmt: skip


def _attempt(item: BatchItem) -> Attempt:
    return Attempt(
        id=item.attempt_id, tenant=item.tenant, request_id=item.request_id, attempt_no=1, key_id=1, provider="openai",
        model="gpt-4o", occurred_at=item.batch.created_at, hold_usd=Decimal("0.5"), hold_tokens=10, state="held",
        expires_at=item.batch.expires_at,
    )  # fmt: skip
