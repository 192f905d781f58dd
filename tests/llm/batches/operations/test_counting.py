"""What is counted of batches, how often, and since when it is the same."""

from datetime import timedelta
from decimal import Decimal

from django.utils.timezone import now

from llm.batches.operations import counting
from llm.models import Batch, BatchItem
from tenants.models import Tenant
from tests.llm.batches.operations.making import counted, make_batch


def test_it_works(acme: Tenant) -> None:
    lines = {"completed": 3, "failed": 1, "expired": 1, "cancelled": 2, "submitted": 4, "held": 1}
    batch = make_batch(acme, lines=lines, jobs=[{}, {"state": "finished"}])
    progress = counted(batch)
    assert progress.lines == lines
    assert progress.jobs == {"submitted": 1, "finished": 1}
    assert (progress.answered, progress.failed, progress.cancelled, progress.under_way) == (3, 2, 2, 4)
    assert (progress.held_usd, progress.cost_usd) == (Decimal("2.5"), Decimal("0.75"))
    assert progress.list_cost_usd - progress.cost_usd == Decimal("0.75")


def test_a_batch_without_lines_is_counted_too(acme: Tenant) -> None:
    progress = counted(make_batch(acme, status="validating"))
    assert (progress.lines, progress.jobs, progress.held_usd) == ({}, {}, 0)


def test_progress_is_a_changed_count(acme: Tenant) -> None:
    batch, began = make_batch(acme, lines={"submitted": 2}, jobs=[{}]), now()
    assert counted(batch, now=began).progressed_at == began
    later = began + timedelta(minutes=5)
    assert counted(batch, now=later).progressed_at == began
    BatchItem.objects.filter(batch=batch, line=1).update(status="completed")
    progress = counted(batch, now=later)
    assert (progress.progressed_at, progress.counted_at) == (later, later)


def test_an_open_batch_is_counted_again_the_sooner_the_smaller_it_is(acme: Tenant) -> None:
    small, large = make_batch(acme), make_batch(acme)
    Batch.objects.filter(pk=large.pk).update(line_count=50_000)
    at = now()
    assert {small.pk, large.pk} <= set(counting.due_batches(now=at))
    counting.count([small.pk, large.pk], now=at)
    due = [
        set(counting.due_batches(now=at + timedelta(seconds=seconds))) & {small.pk, large.pk}
        for seconds in (5, 11, 61)
    ]
    assert due == [set(), {small.pk}, {small.pk, large.pk}]


def test_an_ended_batch_is_counted_once_more(acme: Tenant) -> None:
    batch = make_batch(acme)
    counted(batch)
    Batch.objects.filter(pk=batch.pk).update(status="completed")
    assert batch.pk in counting.due_batches()
    counted(batch)
    assert batch.pk not in counting.due_batches(now=now() + timedelta(hours=1))


def test_a_batch_that_ended_long_ago_is_left_alone(acme: Tenant) -> None:
    old = make_batch(acme, status="completed", created_at=now() - counting.REMEMBERED)
    assert old.pk not in counting.due_batches()
