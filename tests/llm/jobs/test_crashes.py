"""Deferred calls whose worker is killed, whose batch is late, whose deadline is near: answered and billed once all the same."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from billing.models import Attempt
from llm.batches.driver import drive
from llm.jobs import following, gathering, online
from llm.models import Batch, BatchItem, BatchJob, DeferredJob, LaneDelay
from tests.books import eventually
from tests.llm.jobs.conftest import PATIENCE_SECONDS, Bureau


@pytest.fixture
def slow_batches(world):
    world.control("POST", "/settings", {"batch_delay_s": 6})
    yield
    world.control("POST", "/settings", {"batch_delay_s": 0.5})


def submitted(bureau: Bureau) -> BatchJob:
    """The batch of the tenant's jobs, as soon as it is at the provider."""
    part = BatchJob.objects.filter(tenant_id=bureau.member.id, state="submitted")
    return eventually(lambda: part.first(), patience_seconds=PATIENCE_SECONDS)


def test_it_works_after_the_worker_was_killed(bureau_for, stack, slow_batches):
    bureau = bureau_for(deferred={"max_jobs": 5, "max_age_seconds": 600})
    jobs = [bureau.ask()["id"] for _ in range(5)]
    submitted(bureau)
    stack.kill_celery()
    stack.start_celery()
    assert {bureau.wait(job)["status"] for job in jobs} == {"completed"}
    assert BatchJob.objects.filter(tenant_id=bureau.member.id).count() == 1
    assert len(bureau.records()) == len(bureau.billed_upstream()) == len(bureau.attempts()) == 5
    assert bureau.held == 0


def test_what_was_followed_is_not_followed_again(bureau_for):
    bureau = bureau_for()
    job_id = bureau.wait(bureau.ask()["id"])["id"]
    before, spent = bureau.row(job_id), bureau.spent
    # as if the worker had been killed between the line's settlement and the writing down of the job
    item = before.item
    BatchItem.objects.filter(pk=item.pk).update(response=before.response)
    DeferredJob.objects.filter(pk=before.pk).update(
        status="running", response=None, finished_at=None, cost_usd=0
    )
    following.follow()
    after = bureau.row(job_id)
    assert (after.status, after.response, after.cost_usd) == ("completed", before.response, before.cost_usd)
    assert (bureau.spent, len(bureau.records())) == (spent, 1)
    Batch.objects.filter(pk=item.batch_id).update(status="in_progress")
    drive(item.batch_id)
    assert len(bureau.records()) == 1


def test_a_job_whose_batch_is_late_goes_out_in_real_time_and_is_paid_once(bureau_for, slow_batches):
    bureau = bureau_for()
    job_id = bureau.ask()["id"]
    part = submitted(bureau)
    Batch.objects.filter(pk=part.batch_id).update(expires_at=timezone.now())
    done = bureau.wait(job_id)
    assert (done["status"], done["lane"], done["purser"]["processing"]) == ("completed", "online", "online")
    (record,) = bureau.records()
    assert (record.processing, str(record.request_id)) == ("online", done["purser"]["request_id"])
    assert sorted(attempt.state for attempt in bureau.attempts()) == ["captured", "voided"]
    assert (bureau.held, bureau.spent, bureau.billed_upstream()) == (0, record.billed_cost, [])
    receipt = bureau.receipt(record.request_id)
    assert receipt["status"] == 200
    assert [step["outcome"] for step in receipt["steps"] if step["step"] == "deferred"] == ["batch", "online"]


def test_a_job_that_still_waits_when_its_deadline_is_near_goes_out_in_real_time(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    job_id = bureau.ask()["id"]
    assert bureau.row(job_id).status == "queued"
    DeferredJob.objects.filter(public_id=job_id).update(move_up_at=timezone.now())
    done = bureau.wait(job_id)
    assert (done["status"], done["lane"], bureau.held) == ("completed", "online", 0)
    assert [record.processing for record in bureau.records()] == ["online"]


def test_a_deadline_that_no_batch_can_make_is_kept_in_real_time(bureau_for, make_deployment):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    job = bureau.ask(urgency="within=60s")
    assert job["lane"] == "online"
    assert {offer["lane"]: offer["late"] for offer in job["purser"]["lanes"]}["batch"] > 0.9
    assert bureau.wait(job["id"])["status"] == "completed"


def test_a_batch_that_the_provider_refuses_goes_out_in_real_time(bureau_for):
    bureau = bureau_for()
    bureau.world.fault(match={"path": "/v1/batches"}, fault="status:400", message="no batches here")
    done = bureau.wait(bureau.ask()["id"])
    assert (done["status"], done["lane"], bureau.held) == ("completed", "online", 0)


def test_running_jobs_that_nobody_wants_are_taken_back(bureau_for, slow_batches):
    bureau = bureau_for()
    job_id = bureau.ask()["id"]
    submitted(bureau)
    status, job = bureau.world.request("POST", f"/v1/jobs/{job_id}/cancel", member=bureau.member)
    assert (status, job["status"]) == (200, "running")
    assert job["cancel_asked_at"]
    done = bureau.wait(job_id)
    assert done["status"] == "cancelled"
    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)
    assert (bureau.records(), bureau.billed_upstream()) == ([], [])


def test_a_provider_that_fails_for_now_is_asked_again(bureau_for, make_deployment):
    bureau = bureau_for()
    deployment = make_deployment()
    bureau.world.fault(match={"key": deployment.account_key}, fault="status:503", times=4)
    job_id = bureau.ask(model=deployment.model)["id"]
    eventually(lambda: bureau.row(job_id).next_try_at, patience_seconds=PATIENCE_SECONDS)
    DeferredJob.objects.filter(public_id=job_id).update(next_try_at=timezone.now())
    done = bureau.wait(job_id)
    assert done["status"] == "completed"
    assert len(bureau.records()) == 1
    assert bureau.held == 0


def lost(bureau: Bureau, job_id: str) -> DeferredJob:
    """The job as a worker leaves it that is killed while it answers it in real time."""
    DeferredJob.objects.filter(public_id=job_id).update(
        status="running", lane="online", tries=1, leased_until=timezone.now() - timedelta(seconds=1)
    )
    return bureau.row(job_id)


def test_a_lost_job_of_which_nothing_was_sent_is_answered_again(bureau_for, stack):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    job_id = bureau.ask()["id"]
    lost(bureau, job_id)
    assert bureau.wait(job_id)["status"] == "completed"
    assert (len(bureau.records()), bureau.held) == (1, 0)


def test_a_lost_job_that_may_have_been_sent_is_billed_and_not_sent_again(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    job_id = bureau.ask()["id"]
    Attempt.objects.filter(pk=bureau.row(job_id).attempt_id).update(
        state="sent", sent_at=timezone.now(), expires_at=timezone.now()
    )
    lost(bureau, job_id)
    from billing.ledger.reaper import reap

    reap()
    done = bureau.wait(job_id)
    assert (done["status"], done["error"]["code"]) == ("failed", "provider_error")
    (record,) = bureau.records()
    assert record.usage_source == "estimated"
    assert (done["purser"]["cost_usd"], bureau.held) == (f"{record.billed_cost:.12f}", 0)


def test_a_job_that_was_never_accepted_is_forgotten_with_its_hold(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    job_id = bureau.ask()["id"]
    DeferredJob.objects.filter(public_id=job_id).update(
        status="accepting", created_at=timezone.now() - timedelta(hours=1)
    )
    assert bureau.world.get(f"/v1/jobs/{job_id}", bureau.member)[0] == 404
    eventually(
        lambda: not DeferredJob.objects.filter(public_id=job_id).exists(), patience_seconds=PATIENCE_SECONDS
    )
    assert bureau.held == 0


def test_no_more_jobs_run_in_real_time_than_the_policy_allows(committed, make_tenant):
    member = make_tenant(policy={"deferred": {"concurrency": 2}})
    now = timezone.now()
    for _ in range(5):
        DeferredJob.objects.create(
            tenant_id=member.id,
            public_id=f"job_{uuid4().hex}",
            key_id=1,
            key_name="main",
            endpoint="/v1/chat/completions",
            status="queued",
            lane="online",
            request_id=uuid4(),
            attempt_id=uuid4(),
            model_asked="m",
            created_at=now,
            deadline_at=now + timedelta(hours=1),
            move_up_at=now + timedelta(minutes=30),
        )
    assert len(online.claim(member.id, room=5, most=2, now=now)) == 2
    assert online.claim(member.id, room=5, most=2, now=now) == []
    DeferredJob.objects.filter(tenant_id=member.id).delete()


def test_delays_are_learnt_of_each_batch(bureau_for, make_deployment):
    bureau = bureau_for()
    prices = [{"meter": meter, "usd_per_million": "1"} for meter in ("input", "cache_read", "output")]
    prices += [
        {"meter": meter, "processing": "batch", "usd_per_million": "0.5"} for meter in ("input", "output")
    ]
    deployment = make_deployment(prices=prices)
    bureau.wait(bureau.ask(model=deployment.model)["id"])
    learnt = LaneDelay.objects.get(model=deployment.model)
    assert (learnt.lane, sum(learnt.answered), sum(learnt.given_up)) == ("batch", 1, 0)


def test_a_batch_is_one_observation_however_many_lines_it_has(bureau_for, make_deployment, slow_batches):
    bureau = bureau_for(deferred={"max_age_seconds": 600, "max_jobs": 3})
    prices = [{"meter": meter, "usd_per_million": "1"} for meter in ("input", "cache_read", "output")]
    prices += [
        {"meter": meter, "processing": "batch", "usd_per_million": "0.5"} for meter in ("input", "output")
    ]
    deployment = make_deployment(prices=prices)
    jobs = [bureau.ask(model=deployment.model)["id"] for _ in range(3)]
    part = submitted(bureau)
    Batch.objects.filter(pk=part.batch_id).update(expires_at=timezone.now())
    assert {bureau.wait(job)["lane"] for job in jobs} == {"online"}

    def learnt() -> dict[str, tuple[float, float]]:
        rows = LaneDelay.objects.filter(model=deployment.model)
        return {row.lane: (round(sum(row.answered), 1), round(sum(row.given_up), 1)) for row in rows}

    # a job is over before its delay is written down
    seen = eventually(learnt, until=lambda lanes: lanes.get("online", (0, 0))[0] > 2.9)
    assert {lane: counts for lane, counts in seen.items() if lane != "online"} == {
        "batch": (0.0, 1.0),
        "back": (1.0, 0.0),
    }


def test_two_workers_gather_each_job_once(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    jobs = [bureau.ask()["id"] for _ in range(3)]
    later = timezone.now() + timedelta(seconds=601)
    made = gathering.gather(now=later) + gathering.gather(now=later)
    assert Batch.objects.filter(tenant_id=bureau.member.id).count() == 1
    assert Batch.objects.get(tenant_id=bureau.member.id).pk in made
    assert {bureau.wait(job)["status"] for job in jobs} == {"completed"}
    assert len(bureau.billed_upstream()) == 3
