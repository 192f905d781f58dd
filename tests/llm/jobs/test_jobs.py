"""Deferred calls through the official SDKs: accepted, gathered, answered at half the price."""

import json
from datetime import timedelta
from decimal import Decimal

import openai
import pytest
from django.utils import timezone

from llm.models import Batch, DeferredJob, IdempotentCall, RequestLog, StoredFile
from tests.llm.jobs.conftest import PATIENCE_SECONDS, Bureau


def test_it_works(bureau_for):
    bureau = bureau_for()
    job = bureau.ask(
        "What is 2 plus 2?",
        headers={"x-purser-user": "alice", "x-purser-feature": "nightly", "x-purser-tags": "project=apollo"},
    )
    assert (job["object"], job["status"], job["lane"]) == ("job", "queued", "batch")
    assert job["response"] is None
    money = job["purser"]
    assert 0 < Decimal(money["estimate_usd"]) < Decimal(money["upper_bound_usd"])
    assert [offer["lane"] for offer in money["lanes"]] == ["batch", "online"]
    (attempt,) = bureau.attempts()
    assert (attempt.hold_usd, attempt.processing) == (Decimal(money["upper_bound_usd"]), "online")

    done = bureau.wait(job["id"])

    assert (done["status"], done["lane"], done["error"]) == ("completed", "batch", None)
    assert done["response"]["object"] == "chat.completion"
    assert done["response"]["choices"][0]["message"]["content"]
    (record,) = bureau.records()
    assert (record.processing, record.user_id, record.feature, record.project, record.cost_center) == (
        *("batch", "alice", "nightly", "apollo"),
        "4711",
    )
    expected = (record.input_tokens * Decimal("0.075") + record.output_tokens * Decimal("0.30")) / 1_000_000
    assert record.billed_cost == expected == record.list_cost / 2
    assert Decimal(done["purser"]["cost_usd"]) == Decimal(done["purser"]["saved_usd"]) == expected
    assert (bureau.held, bureau.spent) == (0, expected)
    assert len(bureau.billed_upstream()) == 1
    log = RequestLog.objects.get(request_id=record.request_id)
    assert (log.status, log.user, log.feature, log.cost_usd) == (200, "alice", "nightly", expected)
    assert log.receipt["job"] == job["id"]
    assert [step["step"] for step in log.receipt["steps"]][-1] == "deferred"


def test_it_works_for_both_apis_of_openai_and_for_anthropics(bureau_for):
    bureau = bureau_for()
    header = {"x-purser-urgency": "deferred"}
    response = bureau.world.openai(bureau.member).responses.with_raw_response.create(
        model="gpt-4o-mini", input="What is 3 plus 3?", extra_headers=header
    )
    message = bureau.world.anthropic(bureau.member).messages.with_raw_response.create(
        model="claude-haiku-4-5",
        max_tokens=40,
        messages=[{"role": "user", "content": "What is 4 plus 4?"}],
        extra_headers=header,
    )
    assert response.status_code == message.status_code == 202
    done = [bureau.wait(json.loads(raw.http_response.text)["id"]) for raw in (response, message)]
    assert [job["response"].get("object") or job["response"]["type"] for job in done] == [
        "response",
        "message",
    ]
    assert [job["lane"] for job in done] == ["batch", "batch"]
    assert {record.processing for record in bureau.records()} == {"batch"}
    assert bureau.held == 0


def test_a_client_that_waits_gets_the_answer_when_it_is_there(bureau_for):
    bureau = bureau_for()
    job = bureau.ask()
    done = bureau.job(job["id"], wait=25)
    assert done["status"] == "completed" or bureau.job(job["id"], wait=25)["status"] == "completed"


def test_jobs_gather_into_one_batch_that_no_client_sees(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600, "max_jobs": 3})
    jobs = [bureau.ask() for _ in range(3)]
    for job in jobs:
        assert bureau.wait(job["id"])["status"] == "completed"
    (batch,) = Batch.objects.filter(tenant_id=bureau.member.id)
    assert (batch.line_count, batch.is_gathered) == (3, True)
    assert list(bureau.world.openai(bureau.member).batches.list()) == []
    with pytest.raises(openai.NotFoundError):
        bureau.world.openai(bureau.member).batches.retrieve(batch.public_id)
    assert not StoredFile.objects.filter(tenant_id=bureau.member.id).exists()


def test_a_token_sum_lets_them_go_too(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600, "max_tokens": 20})
    assert bureau.wait(bureau.ask()["id"])["status"] == "completed"


def test_an_answer_that_is_there_is_given_at_once_and_for_nothing(bureau_for):
    bureau = bureau_for()
    question = {"messages": [{"role": "user", "content": "What is 5 plus 5?"}], "temperature": 0}
    bureau.world.openai(bureau.member).chat.completions.create(model="gpt-4o-mini", max_tokens=40, **question)
    spent = bureau.spent
    job = bureau.ask(**question)
    assert (job["status"], job["lane"]) == ("completed", "cache")
    assert job["response"]["choices"][0]["message"]["content"]
    assert Decimal(job["purser"]["cost_usd"]) == 0 < Decimal(job["purser"]["saved_usd"])
    assert bureau.job(job["id"]) == job
    assert (bureau.spent, bureau.held) == (spent, 0)


def test_a_model_without_batches_is_answered_in_real_time_at_its_price(bureau_for, make_deployment):
    bureau = bureau_for()
    deployment = make_deployment()  # no price in batches
    job = bureau.ask(model=deployment.model)
    assert job["lane"] == "online"
    done = bureau.wait(job["id"])
    assert (done["status"], done["purser"]["processing"]) == ("completed", "online")
    (record,) = bureau.records()
    assert (record.processing, record.billed_cost) == ("online", Decimal(done["purser"]["cost_usd"]))
    assert (bureau.held, bureau.spent) == (0, record.billed_cost)
    waited, went = bureau.attempts()
    assert (waited.state, went.state, waited.request_id) == ("voided", "captured", went.request_id)
    receipt = bureau.receipt(record.request_id)
    assert receipt["steps"][0]["step"] != "hold"
    assert "deferred" in [step["step"] for step in receipt["steps"]]


def test_a_budget_that_cannot_pay_refuses_it_and_leaves_nothing(bureau_for):
    bureau = bureau_for(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "0.000001", "mode": "hard"}]
    )
    with pytest.raises(openai.RateLimitError) as caught:
        bureau.ask()
    assert caught.value.code == "budget_exceeded"
    assert not DeferredJob.objects.filter(tenant_id=bureau.member.id).exists()
    assert bureau.held == 0


def test_a_quota_bounds_the_jobs_that_wait(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600}, policy={"quotas": {"open_jobs": 1}})
    first = bureau.ask()
    with pytest.raises(openai.PermissionDeniedError) as caught:
        bureau.ask()
    assert caught.value.code == "quota_exceeded"
    bureau.world.request("POST", f"/v1/jobs/{first['id']}/cancel", member=bureau.member)
    bureau.ask()


def test_a_job_that_waits_is_cancelled_and_its_hold_given_back(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    job = bureau.ask()
    assert bureau.held == Decimal(job["purser"]["upper_bound_usd"])
    status, cancelled = bureau.world.request("POST", f"/v1/jobs/{job['id']}/cancel", member=bureau.member)
    assert (status, cancelled["status"]) == (200, "cancelled")
    from tests.books import eventually

    eventually(lambda: bureau.held == 0, patience_seconds=PATIENCE_SECONDS)
    assert [attempt.state for attempt in bureau.attempts()] == ["voided"]
    assert bureau.row(job["id"]).body == {}
    status, again = bureau.world.request("POST", f"/v1/jobs/{job['id']}/cancel", member=bureau.member)
    assert (status, again["status"]) == (200, "cancelled")


def test_a_job_that_is_over_cannot_be_cancelled(bureau_for):
    bureau = bureau_for()
    job = bureau.wait(bureau.ask()["id"])
    status, error = bureau.world.request("POST", f"/v1/jobs/{job['id']}/cancel", member=bureau.member)
    assert (status, error["error"]["code"]) == (400, "invalid_request")


def test_another_tenants_job_is_not_there(bureau_for, world):
    bureau: Bureau = bureau_for(deferred={"max_age_seconds": 600})
    job = bureau.ask()
    for method, path in (("GET", ""), ("GET", "?wait=1"), ("POST", "/cancel")):
        status, error = world.request(method, f"/v1/jobs/{job['id']}{path}", member=world.outsider)
        assert (status, error["error"]["code"]) == (404, "not_found")
    assert world.get("/v1/jobs", world.outsider)[1]["data"] == []


def test_the_list_is_newest_first_and_turns_pages(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    made = [bureau.ask()["id"] for _ in range(3)]
    _, page = bureau.world.get("/v1/jobs?limit=2", bureau.member)
    assert ([job["id"] for job in page["data"]], page["has_more"]) == (made[:0:-1], True)
    _, rest = bureau.world.get(f"/v1/jobs?limit=2&after={page['last_id']}&status=queued", bureau.member)
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (made[:1], False)


def test_the_same_idempotency_key_gets_the_same_job(bureau_for):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    asked = {"text": "What is 6 plus 6?", "headers": {"idempotency-key": "once"}}
    assert bureau.ask(**asked) == bureau.ask(**asked)
    assert len(bureau.attempts()) == 1
    with pytest.raises(openai.BadRequestError):  # an answer now is something else than a job
        bureau.ask(urgency="now", **asked)


def test_a_line_that_the_provider_refuses_fails_its_job_and_costs_nothing(bureau_for):
    bureau = bureau_for()
    done = bureau.wait(bureau.ask(temperature=17)["id"])
    assert done["status"] == "failed"
    assert done["error"]["status"] == 400
    assert "temperature" in done["error"]["message"]
    assert (bureau.held, bureau.records()) == (0, [])


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stream": True}, "stream"),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"}, "x-purser-urgency"),
        ("/v1/responses", {"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
def test_what_cannot_wait_is_refused_by_name(world, path, body, param):
    status, error = world.request(
        "POST", path, {"model": "gpt-4o-mini", **body}, headers={"x-purser-urgency": "deferred"}
    )
    assert (status, error["error"]["code"], error["error"]["param"]) == (400, "invalid_request", param)


@pytest.mark.parametrize(
    "urgency",
    [
        "soon",
        "by=tomorrow",
        "by=2030-01-01T00:00:00",
        "by=2020-01-01T00:00Z",
        "by=2126-01-01T00:00Z",
        "by=2026-02-30T09:00Z",
        "by=9999-12-31T23:59:59-23:59",
        "by=0001-01-01T00:00:00+23:59",
        "by=2026-12-01",
        "by=",
        "within=-5m",
        "within=999999h",
        "within=5",
        "within=0s",
        "within=100h",
    ],
)
def test_an_urgency_that_is_wrong_is_refused_by_name(world, urgency):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
    status, error = world.request("POST", "/v1/chat/completions", body, headers={"x-purser-urgency": urgency})
    assert (status, error["error"]["param"]) == (400, "x-purser-urgency")


@pytest.mark.parametrize("error", [None, {"status": 503, "code": "ledger_unavailable", "message": "again"}])
def test_a_job_whose_answer_was_not_kept_is_given_again_to_its_idempotency_key(bureau_for, error):
    bureau = bureau_for(deferred={"max_age_seconds": 600})
    asked = {"text": "What is 7 plus 7?", "headers": {"idempotency-key": "once"}}
    job = bureau.ask(**asked)
    # as its worker leaves it that is killed after the job was queued; or that did not hear that it was
    lost = {"state": "in_progress"} if error is None else {"state": "done", "error": error}
    calls = IdempotentCall.objects.filter(tenant_id=bureau.member.id)
    assert calls.update(content=None, headers={}, leased_until=timezone.now() - timedelta(minutes=1), **lost)
    assert bureau.ask(**asked) == job
    bureau.world.request("POST", f"/v1/jobs/{job['id']}/cancel", member=bureau.member)
    again = bureau.ask(**asked)
    assert (again["id"], again["status"]) == (job["id"], "cancelled")
    assert DeferredJob.objects.filter(tenant_id=bureau.member.id).count() == 1
