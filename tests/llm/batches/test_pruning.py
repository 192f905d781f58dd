"""What is forgotten after its time, and what never is."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from llm.models import Batch, RequestLog, StoredFile
from llm.pruning import BATCH_AGE, LOG_AGE, prune
from tests.llm.batches.test_models import batch, item

__all__ = ["batch"]

pytestmark = pytest.mark.django_db


def log(batch: Batch, *, age: timedelta) -> RequestLog:
    return RequestLog.objects.create(
        request_id=uuid4(),
        tenant=batch.tenant,
        at=timezone.now() - age,
        key_id=1,
        endpoint="/v1/chat/completions",
        model_asked="m",
        cache_state="miss",
        status=200,
    )


def test_it_works(batch):
    old, young = log(batch, age=LOG_AGE + timedelta(days=1)), log(batch, age=timedelta(days=1))
    prune()
    assert set(RequestLog.objects.filter(tenant=batch.tenant)) == {young}
    assert old.pk != young.pk


def test_the_texts_of_an_old_finished_batch_go_and_its_figures_stay(batch):
    line = item(batch, body={"messages": ["secret"]}, cost_usd="0.5")
    Batch.objects.filter(pk=batch.pk).update(status="completed", created_at=timezone.now() - BATCH_AGE * 2)
    StoredFile.objects.filter(pk=batch.input_file_id).update(created_at=timezone.now() - BATCH_AGE * 2)
    prune()
    line.refresh_from_db()
    batch.refresh_from_db()
    assert (line.body, line.response, float(line.cost_usd)) == ({}, None, 0.5)
    assert batch.input_file.location == ""


def test_what_an_unfinished_batch_needs_stays(batch):
    line = item(batch, body={"messages": ["secret"]})
    Batch.objects.filter(pk=batch.pk).update(created_at=timezone.now() - BATCH_AGE * 2)
    StoredFile.objects.filter(pk=batch.input_file_id).update(deleted_at=timezone.now())
    prune()
    line.refresh_from_db()
    batch.refresh_from_db()
    assert line.body == {"messages": ["secret"]}
    assert batch.input_file.location
