"""What the database itself holds true of batches."""

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from llm.models import Batch, BatchItem, BatchJob, StoredFile
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch() -> Batch:
    now = timezone.now()
    tenant = Tenant.objects.create(slug=f"t-{uuid4().hex[:8]}", name="T", timezone="UTC")
    stored = StoredFile.objects.create(
        public_id=f"file-{uuid4().hex}",
        tenant=tenant,
        key_id=1,
        purpose="batch",
        filename="x",
        bytes=1,
        location=f"{tenant.pk}/{uuid4().hex}",
        created_at=now,
    )
    return Batch.objects.create(
        public_id=f"batch_{uuid4().hex}",
        tenant=tenant,
        key_id=1,
        endpoint="/v1/chat/completions",
        input_file=stored,
        created_at=now,
        expires_at=now,
    )


def item(batch: Batch, **facts) -> BatchItem:
    known = {"line": 1, "custom_id": "a", "attempt_id": uuid4(), "request_id": uuid4(), "body": {}}
    return BatchItem.objects.create(
        batch=batch, tenant=batch.tenant, model="m", provider="p", **{**known, **facts}
    )


def test_it_works(batch):
    item(batch)
    item(batch, line=2, custom_id="b")
    assert batch.items.count() == 2


@pytest.mark.parametrize("same", ["line", "custom_id", "attempt_id", "request_id"])
def test_no_two_lines_share_what_names_them(batch, same):
    first = item(batch)
    others = {"line": 2, "custom_id": "b", "attempt_id": uuid4(), "request_id": uuid4()}
    with pytest.raises(IntegrityError), transaction.atomic():
        item(batch, **{**others, same: getattr(first, same)})


def test_a_batch_has_any_number_of_jobs_for_a_model(batch):
    for name in ("job_1", "job_2"):
        BatchJob.objects.create(
            public_id=f"{name}_{uuid4().hex}", batch=batch, tenant=batch.tenant, provider="p", model="m"
        )
    assert batch.jobs.count() == 2
