"""Equal jobs are asked once, and a job whose answer is there by now is not asked at all: each is a hit in the ledger."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing.models import UsageRecord
from caching.exact.store import ExactKey, peek
from config import resources
from llm.models import Batch, BatchJob, DeferredJob
from tests.books import eventually
from tests.llm.jobs.conftest import PATIENCE_SECONDS, Bureau

QUESTION = "What is the capital of the smallest country?"
GATHER_THREE = {"max_age_seconds": 600, "max_jobs": 3}
OTHER = "Name a river that is longer than a thousand kilometres."


def sources(bureau: Bureau) -> dict[str, int]:
    """The tenant's rows in the ledger: how many were bought, and how many were hits."""
    states = UsageRecord.objects.filter(tenant_id=bureau.member.id).values_list("usage_source", flat=True)
    return {state: list(states).count(state) for state in set(states)}


def statuses(bureau: Bureau, jobs: list[str]) -> list[tuple[str, str]]:
    return [(done["status"], done["lane"]) for done in map(bureau.wait, jobs)]


def test_it_works(bureau_for):
    bureau = bureau_for(deferred=GATHER_THREE)
    jobs = [bureau.ask(QUESTION)["id"], bureau.ask(QUESTION)["id"], bureau.ask(OTHER)["id"]]
    assert sorted(statuses(bureau, jobs)) == [
        ("completed", "batch"),
        ("completed", "batch"),
        ("completed", "cache"),
    ]
    assert len(bureau.billed_upstream()) == Batch.objects.get(tenant_id=bureau.member.id).line_count == 2
    first, second = (bureau.job(job) for job in jobs[:2])
    assert first["response"]["choices"] == second["response"]["choices"]
    money = second["purser"]
    assert Decimal(money["cost_usd"]) == 0 < Decimal(money["saved_usd"])
    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)
    assert sources(bureau) == {"provider": 2, "gateway_cache": 1}
    hit = UsageRecord.objects.get(tenant_id=bureau.member.id, usage_source="gateway_cache")
    assert (str(hit.request_id), hit.cache_state, hit.billed_cost) == (money["request_id"], "exact", 0)
    receipt = bureau.receipt(hit.request_id)
    assert "served" in [step["step"] for step in receipt["steps"]]


def test_an_answer_that_came_meanwhile_is_given_and_nothing_is_sent(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    body = {"model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": QUESTION}]}
    job_id = bureau.ask(QUESTION)["id"]
    bureau.world.openai(bureau.member).chat.completions.create(**body)
    spent = bureau.spent
    DeferredJob.objects.filter(public_id=job_id).update(created_at=timezone.now() - timedelta(seconds=601))
    assert statuses(bureau, [job_id]) == [("completed", "cache")]
    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)
    assert (bureau.spent, Batch.objects.filter(tenant_id=bureau.member.id).count()) == (spent, 0)


def test_one_that_goes_out_in_real_time_looks_first(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    body = {"model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": QUESTION}]}
    job_id = bureau.ask(QUESTION)["id"]
    bureau.world.openai(bureau.member).chat.completions.create(**body)
    spent = bureau.spent
    DeferredJob.objects.filter(public_id=job_id).update(move_up_at=timezone.now())
    assert statuses(bureau, [job_id]) == [("completed", "cache")]
    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)
    assert bureau.spent == spent


def test_the_answer_of_a_batch_is_remembered_for_calls_to_come(bureau_for):
    bureau = bureau_for()
    job = bureau.row(bureau.wait(bureau.ask(QUESTION)["id"])["id"])
    key = ExactKey(bureau.member.id, job.exact_key)
    eventually(lambda: resources.run(lambda: peek(key)))  # it is kept a moment after the job is over
    spent = bureau.spent
    body = {"model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": QUESTION}]}

    def is_hit() -> bool:
        raw = bureau.world.openai(bureau.member).chat.completions.with_raw_response.create(**body)
        return raw.headers["x-purser-cache"] == "exact"

    assert is_hit()
    assert bureau.spent == spent


@pytest.mark.parametrize(
    "unequal",
    [
        {"headers": {"x-purser-cache": "off"}},
        {"headers": {"x-purser-cache": "refresh"}},
        {"headers": {"x-purser-prompt-version": "2"}},
        {"temperature": 1.5},
        {"max_tokens": 41},
    ],
)
def test_what_the_cache_would_not_share_is_sent_by_itself(bureau_for, unequal):
    bureau = bureau_for(deferred={"max_age_seconds": 600, "max_jobs": 2})
    jobs = [bureau.ask(QUESTION)["id"], bureau.ask(QUESTION, **unequal)["id"]]
    assert statuses(bureau, jobs) == [("completed", "batch")] * 2
    assert sources(bureau) == {"provider": 2}


def test_users_share_only_as_the_policy_says(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600, "max_jobs": 3}, policy={"cache": {"share": "user"}})
    jobs = [bureau.ask(QUESTION, headers={"x-purser-user": user})["id"] for user in ("ann", "ben", "ann")]
    assert sorted(lane for _, lane in statuses(bureau, jobs)) == ["batch", "batch", "cache"]


def let_all_go(bureau: Bureau) -> None:
    """Jobs that go out by themselves do so as soon as they are old enough."""
    jobs = DeferredJob.objects.filter(tenant_id=bureau.member.id)
    eventually(lambda: jobs.exclude(started_at=None).exists(), patience_seconds=PATIENCE_SECONDS)
    jobs.update(created_at=timezone.now() - timedelta(seconds=601))


def test_an_answer_that_was_cut_is_shared_with_nobody(bureau_for):
    bureau = bureau_for(deferred=GATHER_THREE)
    text = "Write 300 words about rivers."
    jobs = [bureau.ask(text, max_tokens=5)["id"] for _ in range(3)]
    let_all_go(bureau)
    assert {status for status, _ in statuses(bureau, jobs)} == {"completed"}
    assert sources(bureau) == {"provider": 3}
    assert bureau.held == 0


def test_what_waits_for_one_that_is_refused_goes_out_itself(bureau_for):
    bureau = bureau_for(deferred=GATHER_THREE)
    jobs = [bureau.ask(QUESTION, top_p=17)["id"] for _ in range(3)]
    let_all_go(bureau)
    assert {status for status, _ in statuses(bureau, jobs)} == {"failed"}
    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)


def test_a_cancelled_job_still_answers_those_that_wait_for_it(bureau_for, world):
    world.control("POST", "/settings", {"batch_delay_s": 6})
    try:
        bureau = bureau_for(deferred={"max_age_seconds": 600, "max_jobs": 2})
        first, second = (bureau.ask(QUESTION)["id"] for _ in range(2))
        part = BatchJob.objects.filter(tenant_id=bureau.member.id, state="submitted")
        eventually(lambda: part.exists(), patience_seconds=PATIENCE_SECONDS)
        leader = DeferredJob.objects.get(tenant_id=bureau.member.id, status="running").public_id
        world.request("POST", f"/v1/jobs/{leader}/cancel", member=bureau.member)
        other = second if leader == first else first
        assert bureau.wait(other)["status"] == "completed"
        assert sources(bureau) == {"provider": 1, "gateway_cache": 1}
    finally:
        world.control("POST", "/settings", {"batch_delay_s": 0.5})
