"""Batches whose worker is killed, whose provider's answer is lost, whose time runs out: billed once all the same."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing.models import UsageRecord
from llm.batches.driver import drive, due_batches
from llm.models import Batch, BatchItem, BatchJob
from tests.books import eventually
from tests.llm.batches.conftest import question
from tests.llm.batches.test_batches import BUDGET, batch_calls, billed_upstream, records_of, windows_of

WORKER_SECONDS = 60.0  # a worker that has to start first, on a busy machine


def questions(count: int = 3, *, model: str = "gpt-4o-mini"):
    return [question(f"q{number}", f"What is {number} plus 1?", model=model) for number in range(count)]


def test_it_works_after_the_worker_was_killed(desk_for, stack):
    desk = desk_for(budgets=[BUDGET])
    desk.world.control("POST", "/settings", {"batch_delay_s": 4})
    try:
        order = desk.order(questions(10))
        eventually(
            lambda: BatchJob.objects.filter(batch__public_id=order.id, state="submitted").exists(),
            patience_seconds=WORKER_SECONDS,
        )
        stack.kill_celery()
        stack.start_celery()
        batch = desk.wait(order.id)
    finally:
        desk.world.control("POST", "/settings", {"batch_delay_s": 0.5})
    assert batch.status == "completed"
    assert len(batch_calls(desk)) == 1
    assert records_of(desk).count() == len(billed_upstream(desk)) == 10
    assert windows_of(desk).get().held == 0


@pytest.mark.parametrize(
    ("model", "path"), [("gpt-4o-mini", "/v1/batches"), ("claude-haiku-4-5", "/v1/messages/batches")]
)
def test_a_submission_whose_answer_was_lost_is_found_and_not_sent_again(desk_for, model, path):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": path}, fault="disconnect")
    batch = desk.wait(desk.order(questions(model=model)).id)
    assert batch.status == "completed"
    job = BatchJob.objects.get(batch__public_id=batch.id)
    assert job.submitted_at - job.submitting_at > timedelta(0)
    assert records_of(desk).count() == len(billed_upstream(desk)) == 3


@pytest.mark.parametrize("fault", ["status:500", "status:429", "status:401"])
def test_a_provider_that_refuses_for_now_is_asked_again(desk_for, fault):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": "/v1/files"}, fault=fault, times=1)
    batch = desk.wait(desk.order(questions()).id)
    assert batch.status == "completed"
    assert records_of(desk).count() == 3


def test_a_provider_that_refuses_for_good_ends_the_lines_unpaid(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": "/v1/batches"}, fault="status:400", message="no batches here")
    batch = desk.wait(desk.order(questions()).id)
    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 0, "failed": 3}
    assert all(
        "no batches here" in row["error"]["message"] for row in desk.read(batch.error_file_id).values()
    )
    assert windows_of(desk).get().held == 0
    assert not records_of(desk).exists()


def test_what_was_settled_is_not_settled_again(desk_for):
    desk = desk_for(budgets=[BUDGET])
    batch = desk.wait(desk.order(questions()).id)
    before = list(records_of(desk).order_by("id").values())
    spent = windows_of(desk).get().spent
    # as if the worker had been killed between the ledger and the writing down of it
    row = Batch.objects.get(public_id=batch.id)
    BatchItem.objects.filter(batch=row).update(settled_at=None, status="submitted", response=None)
    row.jobs.update(state="submitted", finished_at=None)
    Batch.objects.filter(pk=row.pk).update(status="in_progress")
    drive(row.pk)
    assert desk.wait(batch.id).status == "completed"
    assert list(records_of(desk).order_by("id").values()) == before
    assert windows_of(desk).get().spent == spent
    assert BatchItem.objects.filter(batch=row, status="completed").count() == 3


def test_a_batch_whose_time_is_up_ends_with_what_was_answered(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.world.control("POST", "/settings", {"batch_delay_s": 5})
    try:
        order = desk.order(questions())
        eventually(
            lambda: BatchJob.objects.filter(batch__public_id=order.id, state="submitted").exists(),
            patience_seconds=WORKER_SECONDS,
        )
        Batch.objects.filter(public_id=order.id).update(expires_at=timezone.now())
        batch = desk.wait(order.id)
    finally:
        desk.world.control("POST", "/settings", {"batch_delay_s": 0.5})
    assert batch.status == "expired"
    assert {row["error"]["code"] for row in desk.read(batch.error_file_id).values()} == {"batch_expired"}
    assert records_of(desk).count() == len(billed_upstream(desk)) == 0
    assert windows_of(desk).get().held == 0


def test_half_of_a_batch_that_the_provider_let_expire_is_paid(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": "/v1/batches"}, fault="expire")
    batch = desk.wait(desk.order(questions(4)).id)
    assert batch.status == "expired"
    assert batch.request_counts.completed == records_of(desk).count() == len(billed_upstream(desk)) == 2
    assert windows_of(desk).get().held == 0


def test_a_finished_batch_is_not_due(desk):
    batch = desk.wait(desk.order(questions(1)).id)
    assert Batch.objects.get(public_id=batch.id).pk not in due_batches()


def test_the_ledger_is_complete_though_nobody_asks_for_the_batch(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.order(questions(2))
    eventually(
        lambda: UsageRecord.objects.filter(tenant_id=desk.member.id).count() == 2,
        patience_seconds=WORKER_SECONDS,
    )


def test_a_job_whose_worker_died_before_it_asked_the_provider_is_submitted_once(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": "/v1/files"}, fault="status:401", times=2)
    order = desk.order(questions())
    jobs = BatchJob.objects.filter(batch__public_id=order.id)
    eventually(lambda: jobs.filter(failures__gt=0).exists(), patience_seconds=WORKER_SECONDS)
    # as if the worker had died right after it wrote down what it was about to do, a minute ago
    jobs.update(state="submitting", submitting_at=timezone.now() - timedelta(minutes=1), next_look_at=None)
    assert desk.wait(order.id).status == "completed"
    assert len(batch_calls(desk)) == 1
    assert records_of(desk).count() == len(billed_upstream(desk)) == 3
