"""What a deferred call holds on its way: the dearest lane's price, until it is over, whatever fails in between."""

from decimal import Decimal

import openai
import pytest
from django.utils import timezone

from billing.models import Budget
from llm.models import Batch, BatchJob, DeferredJob
from tests.books import eventually
from tests.llm.jobs.conftest import PATIENCE_SECONDS, Bureau


@pytest.fixture
def slow_batches(world):
    world.control("POST", "/settings", {"batch_delay_s": 8})
    yield
    world.control("POST", "/settings", {"batch_delay_s": 0.5})


def leave_no_room(bureau: Bureau, job: dict) -> None:
    """The budget has what the job holds, and nothing else."""
    Budget.objects.filter(tenant_id=bureau.member.id).update(
        limit_amount=Decimal(job["purser"]["upper_bound_usd"])
    )


def snatch(bureau: Bureau) -> None:
    """Another call tries to take the room."""
    with pytest.raises(openai.RateLimitError):
        bureau.world.openai(bureau.member).chat.completions.create(
            model="gpt-4o-mini", max_tokens=40, messages=[{"role": "user", "content": "Anything left?"}]
        )


def over(bureau: Bureau, job_id: str, *, meanwhile) -> DeferredJob:
    def look() -> DeferredJob:
        row = bureau.row(job_id)
        if row.finished_at is None:
            meanwhile()
        return row

    return eventually(look, until=lambda row: row.finished_at, patience_seconds=PATIENCE_SECONDS)


def test_it_works(bureau_for, slow_batches):
    bureau = bureau_for()
    job = bureau.ask()
    leave_no_room(bureau, job)
    part = eventually(
        lambda: BatchJob.objects.filter(tenant_id=bureau.member.id, state="submitted").first(),
        patience_seconds=PATIENCE_SECONDS,
    )
    Batch.objects.filter(pk=part.batch_id).update(expires_at=timezone.now())
    done = over(bureau, job["id"], meanwhile=lambda: snatch(bureau))
    assert (done.status, done.lane) == ("completed", "online")
    assert (bureau.held, bureau.spent) == (0, done.cost_usd)
    assert sorted(attempt.state for attempt in bureau.attempts()) == ["captured", "voided"]


def test_a_try_that_fails_keeps_the_money_for_the_next_one(bureau_for, make_deployment):
    bureau = bureau_for()
    deployment = make_deployment()
    bureau.world.fault(match={"key": deployment.account_key}, fault="status:503", times=4)
    job = bureau.ask(model=deployment.model)
    leave_no_room(bureau, job)
    row = eventually(
        lambda: bureau.row(job["id"]), until=lambda row: row.next_try_at, patience_seconds=PATIENCE_SECONDS
    )
    assert (bureau.held, row.is_held) == (Decimal(job["purser"]["upper_bound_usd"]), True)
    assert [attempt.state for attempt in bureau.attempts()][-1] == "held"
    snatch(bureau)
    DeferredJob.objects.filter(pk=row.pk).update(next_try_at=timezone.now())
    assert bureau.wait(job["id"])["status"] == "completed"
    assert (bureau.held, len(bureau.records())) == (0, 1)


def test_a_job_that_fails_for_good_gives_its_money_back(bureau_for, make_deployment):
    bureau = bureau_for()
    deployment = make_deployment()
    bureau.world.fault(match={"key": deployment.account_key}, fault="status:503", times=40)
    job_id = bureau.ask(model=deployment.model)["id"]

    def hurry() -> None:
        DeferredJob.objects.filter(public_id=job_id).exclude(next_try_at=None).update(
            next_try_at=timezone.now()
        )

    assert over(bureau, job_id, meanwhile=hurry).status == "failed"
    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)
    assert {attempt.state for attempt in bureau.attempts()} == {"voided"}


def test_a_running_job_that_is_cancelled_gives_its_money_back(bureau_for, slow_batches):
    bureau = bureau_for()
    job_id = bureau.ask()["id"]
    eventually(lambda: bureau.row(job_id).status == "running", patience_seconds=PATIENCE_SECONDS)
    bureau.world.request("POST", f"/v1/jobs/{job_id}/cancel", member=bureau.member)
    assert bureau.wait(job_id)["status"] == "cancelled"
    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)
    assert ({attempt.state for attempt in bureau.attempts()}, bureau.records()) == ({"voided"}, [])
