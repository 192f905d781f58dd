"""Answers bought before the ones before them expire: in batches, on a budget of their own, with what they earned."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from billing.models import Budget, BudgetWindow, UsageRecord
from llm.models import AskedQuestion, DeferredJob, RefreshedMonth
from llm.refresh import refreshing
from tenants.models import ApiKey, Tenant
from tenants.policy import InvalidPolicy, parse_policy
from tests.books import eventually
from tests.llm.jobs.conftest import PATIENCE_SECONDS, Bureau

QUESTION = "What is the capital of the country with the most islands?"


def wanting(bureau_for: Any, *, cache: dict[str, Any] | None = None, **refresh: Any) -> Bureau:
    policy = {"refresh": {"enabled": True, "least_hits": 2, **refresh}, "cache": cache or {}}
    bureau: Bureau = bureau_for(policy=policy)
    return bureau


def ask(bureau: Bureau, text: str = QUESTION, *, model: str = "gpt-4o-mini", user: str = "") -> str:
    """Ask in real time; where the answer came from."""
    raw = bureau.world.openai(bureau.member).chat.completions.with_raw_response.create(
        model=model,
        max_tokens=40,
        messages=[{"role": "user", "content": text}],
        extra_headers={"x-purser-user": user} if user else {},
    )
    return str(raw.headers["x-purser-cache"])


def asked_often(bureau: Bureau, text: str = QUESTION, **how: str) -> None:
    assert ask(bureau, text, **how) == "miss"
    eventually(lambda: ask(bureau, text, **how) == "exact")
    assert [ask(bureau, text, **how) for _ in range(2)] == ["exact"] * 2


def questions(bureau: Bureau) -> Any:
    return AskedQuestion.objects.filter(tenant_id=bureau.member.id)


def noted(bureau: Bureau) -> AskedQuestion:
    """The question that was asked often, when all of its hits are written down."""
    often = questions(bureau).filter(hits__gte=3)
    return eventually(lambda: often.first(), patience_seconds=PATIENCE_SECONDS)


def expiring(bureau: Bureau, *, hits: int = 3) -> None:
    """Its answer expires soon."""
    noted(bureau)
    questions(bureau).update(hits=hits, expires_at=timezone.now() + timedelta(hours=1))


def refresh(bureau: Bureau, *, now: Any = None) -> int:
    return refreshing.refresh(bureau.member.id, now=now)


def jobs(bureau: Bureau) -> list[DeferredJob]:
    return list(DeferredJob.objects.filter(tenant_id=bureau.member.id, is_refresh=True))


def finished(bureau: Bureau) -> DeferredJob:
    return eventually(
        lambda: jobs(bureau)[0], until=lambda job: job.finished_at, patience_seconds=PATIENCE_SECONDS
    )


def records(bureau: Bureau, **which: Any) -> list[UsageRecord]:
    return list(UsageRecord.objects.filter(tenant_id=bureau.member.id, **which))


def held(bureau: Bureau) -> Decimal:
    windows = BudgetWindow.objects.filter(budget__tenant_id=bureau.member.id)
    return sum(windows.values_list("held", flat=True), Decimal(0))


def test_it_works(bureau_for):
    bureau = wanting(bureau_for)
    asked_often(bureau)
    noted(bureau)
    soon = timezone.now() + timedelta(seconds=1)
    questions(bureau).update(hits=3, expires_at=soon)

    assert refresh(bureau, now=soon - timedelta(seconds=1)) == 1

    job = finished(bureau)
    assert (job.status, job.lane, job.feature) == ("completed", "batch", "cache-refresh")
    assert bureau.world.get("/v1/jobs", bureau.member)[1]["data"] == []
    assert bureau.world.get(f"/v1/jobs/{job.public_id}", bureau.member)[0] == 404
    (bought,) = records(bureau, cache_state="refresh")
    assert (bought.processing, bought.billed_cost, bought.list_cost) == ("batch", job.cost_usd, 0)
    assert Decimal(bought.saving["gateway_cache"]) == -bought.billed_cost < 0
    assert "refresh" in [step["step"] for step in bureau.receipt(job.request_id)["steps"]]

    def is_served_anew() -> bool:
        assert ask(bureau) == "exact"
        return bool(records(bureau, reason="refreshed ahead of time"))

    eventually(is_served_anew)
    earned = records(bureau, reason="refreshed ahead of time")
    served = [step for step in bureau.receipt(earned[0].request_id)["steps"] if step["step"] == "served"]
    assert served[0]["refreshed_ahead_of_time"] is True
    saved = sum(Decimal(hit.saving["gateway_cache"]) for hit in earned)
    _, usage = bureau.world.get("/v1/usage", bureau.member)
    assert usage["total"]["requests"] == len(records(bureau)) - 1  # no client asked for what was bought
    figures = usage["refresh"]
    assert (figures["refreshed"], figures["hits"]) == (1, len(earned))
    assert Decimal(figures["cost_usd"]) == bought.billed_cost
    assert Decimal(figures["net_usd"]) == saved - bought.billed_cost
    month = RefreshedMonth.objects.get(tenant_id=bureau.member.id)
    assert (month.refreshed, month.hits, month.saved_usd) == (1, len(earned), saved)
    assert (month.cost_usd, month.net_usd) == (bought.billed_cost, saved - bought.billed_cost)


def test_an_answer_is_bought_anew_once_and_only_if_it_is_met_as_often_again(bureau_for):
    bureau = wanting(bureau_for)
    asked_often(bureau)
    expiring(bureau)
    assert (refresh(bureau), refresh(bureau)) == (1, 0)
    finished(bureau)
    expiring_again = timezone.now() + timedelta(minutes=30)
    questions(bureau).update(expires_at=expiring_again, refreshed_at=None)
    assert refresh(bureau) == 0


def test_what_is_asked_seldom_or_is_good_for_long_is_left_alone(bureau_for):
    bureau = wanting(bureau_for, least_hits=9)
    asked_often(bureau)
    expiring(bureau)
    assert refresh(bureau) == 0
    questions(bureau).update(hits=10, expires_at=timezone.now() + timedelta(hours=3))
    assert refresh(bureau) == 0
    assert jobs(bureau) == []


def test_its_budget_is_hard(bureau_for):
    bureau = wanting(bureau_for, usd_per_month=0.0000001)
    asked_often(bureau)
    expiring(bureau, hits=7)
    assert refresh(bureau) == 0
    budget = Budget.objects.get(tenant_id=bureau.member.id, scope="feature")
    assert (budget.value, budget.mode, budget.limit_amount) == ("cache-refresh", "hard", Decimal("0.0000001"))
    assert DeferredJob.objects.filter(tenant_id=bureau.member.id).count() == 0
    left = questions(bureau).get()
    assert (left.hits, left.refreshed_at, held(bureau)) == (7, None, 0)


def test_switched_off_it_keeps_nothing(bureau_for):
    bureau = wanting(bureau_for)
    asked_often(bureau)
    expiring(bureau)
    refresh(bureau)
    tenant = Tenant.objects.get(pk=bureau.member.id)
    tenant.policy = {**tenant.policy, "refresh": {"enabled": False}}
    tenant.save()
    assert refresh(bureau) == 0
    assert not questions(bureau).exists()
    assert not Budget.objects.get(tenant_id=bureau.member.id, scope="feature").is_active


def test_by_default_no_question_is_kept(bureau_for):
    silent, other = bureau_for(), wanting(bureau_for)
    asked_often(silent)
    asked_often(other)
    noted(other)
    assert not questions(silent).exists()


def test_questions_are_kept_encrypted_and_no_more_of_them_than_the_policy_says(bureau_for):
    bureau, other = wanting(bureau_for, max_questions=1), wanting(bureau_for)
    asked_often(bureau)
    noted(bureau)
    asked_often(bureau, "What is the capital of the country with the most lakes?")
    asked_often(other)
    noted(other)
    with connection.cursor() as cursor:
        cursor.execute("SELECT question FROM llm_askedquestion WHERE tenant_id = %s", [bureau.member.id])
        ((sealed,),) = cursor.fetchall()
    assert "islands" not in sealed
    assert "islands" in questions(bureau).get().question


def test_what_only_one_user_may_see_is_kept_only_for_keys_that_permit_it(bureau_for):
    private = wanting(bureau_for, cache={"share": "user"})
    permitted = wanting(bureau_for, cache={"share": "user"}, private_keys=["main"])
    for bureau in (private, permitted):
        asked_often(bureau, user="alice")
    expiring(permitted)
    assert not questions(private).exists()
    assert refresh(permitted) == 1
    assert [job.user for job in jobs(permitted)] == ["alice"]


def test_a_model_without_batches_is_not_worth_it(bureau_for, make_deployment):
    bureau = wanting(bureau_for)
    asked_often(bureau, model=make_deployment().model)
    expiring(bureau)
    refresh(bureau)
    assert (jobs(bureau), held(bureau)) == ([], 0)


def test_a_question_whose_key_is_revoked_is_not_asked(bureau_for):
    bureau = wanting(bureau_for)
    asked_often(bureau)
    expiring(bureau)
    ApiKey.objects.filter(tenant_id=bureau.member.id).update(revoked_at=timezone.now())
    refresh(bureau)
    assert jobs(bureau) == []


def test_what_finds_no_batch_in_time_is_given_up_and_not_sent_in_real_time(bureau_for):
    bureau = bureau_for(
        deferred={"max_age_seconds": 600}, policy={"refresh": {"enabled": True, "least_hits": 2}}
    )
    asked_often(bureau)
    expiring(bureau)
    assert refresh(bureau) == 1
    DeferredJob.objects.filter(tenant_id=bureau.member.id).update(move_up_at=timezone.now())
    assert finished(bureau).status == "cancelled"
    eventually(lambda: held(bureau) == 0, patience_seconds=PATIENCE_SECONDS)
    assert records(bureau, cache_state="refresh") == []


def test_a_tenant_that_is_suspended_buys_nothing(bureau_for):
    bureau = wanting(bureau_for)
    asked_often(bureau)
    expiring(bureau)
    Tenant.objects.filter(pk=bureau.member.id).update(status="suspended")
    assert refresh(bureau) == 0
    assert jobs(bureau) == []


@pytest.mark.parametrize("field", ["usd_per_month", "least_hits", "before_seconds"])
def test_a_policy_of_nothing_is_refused(field):
    with pytest.raises(InvalidPolicy, match=field):
        parse_policy({"refresh": {field: 0}})
