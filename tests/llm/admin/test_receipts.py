"""The page of a request: a story from its receipt, why it was refused, and what would let it through."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.models import AlertEvent, Budget
from llm.admin.receipts.refusals import refusal_of
from llm.admin.receipts.story import story_of
from llm.models import RequestLog
from tenants.models import ApiKey, Tenant

pytestmark = pytest.mark.django_db

STEPS = [
    {"step": "exact_cache", "outcome": "miss", "at_ms": 1.5, "key": "purser:{t1}:exact:digest"},
    {
        "step": "hold",
        "outcome": "held",
        "at_ms": 3.0,
        "attempt": 1,
        "hold_usd": "0.002382500000",
        "hold_tokens": 353,
    },
    {"step": "something new", "outcome": "done", "at_ms": 4.0, "fresh_usd": "0.5"},
]
ATTEMPT = {
    "attempt": 1,
    "model": "gpt-4o",
    "provider": "openai",
    "cost_usd": "0.001452500000",
    "certainty": "exact",
    "lines": [
        {
            "meter": "input",
            "quantity": 105,
            "unit_price": "2.5",
            "per": 1_000_000,
            "cost_usd": "0.000262500000",
        }
    ],
}


@pytest.fixture
def acme() -> Tenant:
    return Tenant.objects.create(slug="receipts", name="Receipts", timezone="Europe/Berlin")


@pytest.fixture
def olga(client: Client) -> Client:
    client.force_login(User.objects.create(username="receipt-olga", is_staff=True, is_superuser=True))
    return client


def logged(tenant: Tenant | None, receipt: dict[str, Any], **fields: Any) -> RequestLog:
    given = {
        "endpoint": "/v1/chat/completions",
        "model_asked": "auto",
        "cache_state": "miss",
        "status": 200,
    } | fields
    return RequestLog.objects.create(request_id=uuid4(), tenant=tenant, at=now(), receipt=receipt, **given)


def refused(tenant: Tenant, **facts: Any) -> RequestLog:
    refusal = {
        "code": "budget_exceeded",
        "message": "The user budget 'bob' of 5 USD per day has 0.5 USD left; this call may need 2 USD.",
        "scope": "user",
        "subject": "bob",
        "unit": "usd",
        "period": "day",
        "limit": "5",
        "spent": "4.5",
        "held": "0",
        "asked": "2",
        "remaining": "0.5",
        "budget": "user budget 'bob' of 5 USD per day",
        "resets_at": (now() + timedelta(hours=3)).isoformat(),
    } | facts
    return logged(tenant, {"refusal": refusal, "steps": []}, status=429, error_code=refusal["code"])


def page(client: Client, entry: RequestLog, **query: str) -> str:
    response = client.get(reverse("admin:llm_requestlog_change", args=(entry.pk,)), query)
    assert response.status_code == 200
    return response.content.decode()


def test_it_works(olga: Client, acme: Tenant) -> None:
    entry = logged(acme, {"steps": STEPS, "attempts": [ATTEMPT], "status": 200, "total_ms": 61.8})
    shown = page(olga, entry)
    for text in (
        "Budget held",
        "0.0023825 USD",
        "Attempt 1",
        "0.0014525 USD",
        "2.5 per 1,000,000",
        "61.8 ms",
    ):
        assert text in shown, text
    assert "purser:{t1}" not in shown, "an internal name is in the raw receipt only"
    assert "purser:{t1}" in page(olga, entry, view="raw")


def test_each_step_is_told_in_its_order_and_each_attempt_after_its_hold() -> None:
    story = story_of({"steps": STEPS, "attempts": [ATTEMPT], "status": 200, "total_ms": 61.8})
    titles = [one.title for one in story]
    assert titles == ["Arrived", "Exact cache", "Budget held", "Attempt 1", "Something new", "Answered"]
    assert ("Fresh", "0.5 USD") in story[4].facts


@pytest.mark.parametrize(
    "receipt",
    [
        {},
        {"steps": None, "attempts": None, "result": None},
        {"steps": [{"step": "x"}, {"step": "served", "entry_id": "7", "answer_of_request": "no id"}]},
        {"status": "completed", "line": 5, "attempts": [{"attempt": 1, "model": "m", "provider": "p"}]},
        {"attempts": [{"attempt": None, "lines": [{"meter": "input", "unit_price": None}]}]},
        {
            "steps": [
                {
                    "step": "semantic_cache",
                    "candidates": [{"entry_id": 1, "similarity": None, "question": "<b>"}],
                }
            ]
        },
        {
            "result": {"budget_remaining": {"remaining": "NaN"}, "route": {"considered": [{}]}},
            "status": "200",
        },
    ],
)
def test_a_receipt_of_any_release_is_told(olga: Client, acme: Tenant, receipt: dict[str, Any]) -> None:
    assert "<b>" not in page(olga, logged(acme, receipt)).split("Timeline", 1)[1]


def test_a_refusal_names_what_is_missing_and_leads_to_the_raise(olga: Client, acme: Tenant) -> None:
    each = Budget.objects.create(tenant=acme, scope="user", unit="usd", period="day", limit_amount=50)
    bobs = Budget.objects.create(
        tenant=acme, scope="user", value="bob", unit="usd", period="day", limit_amount=5
    )
    entry = refused(acme)
    refusal = refusal_of(entry)
    assert refusal is not None
    assert "1.5 USD more" in refusal.remedies[0]
    raise_url = refusal.buttons[0].url
    assert reverse("admin:billing_budget_raise_until", args=(bobs.pk,)) in raise_url
    shown = page(olga, entry)
    assert "What would let it through" in shown
    assert "4.5 USD" in shown

    dialog = olga.get(raise_url).content.decode()
    assert 'value="1.5"' in dialog
    assert str(entry.request_id) in dialog
    form = {
        "_form_submitted": "on",
        "extra_amount": "1.5",
        "ends_at": "2099-01-01T10:00",
        "reason": "for bob",
    }
    olga.post(raise_url, form)
    assert bobs.raises.get().extra_amount == Decimal("1.5")
    assert not each.raises.exists()


def test_the_budget_of_each_user_is_found_where_the_user_has_none_of_his_own(acme: Tenant) -> None:
    each = Budget.objects.create(tenant=acme, scope="user", unit="usd", period="day", limit_amount=50)
    refusal = refusal_of(refused(acme))
    assert refusal is not None
    assert reverse("admin:billing_budget_change", args=(each.pk,)) == refusal.buttons[1].url


def test_a_refusal_without_a_budget_or_a_tenant_still_reads(olga: Client, acme: Tenant) -> None:
    assert refusal_of(refused(acme)).buttons == []  # type: ignore[union-attr]
    stranger = logged(
        None, {"refusal": {"code": "invalid_api_key", "message": "The API key is not valid."}}, status=401
    )
    assert "The API key is not valid." in page(olga, stranger)


def test_it_leads_to_the_key_the_alert_and_the_user(olga: Client, acme: Tenant) -> None:
    key = ApiKey.objects.create(tenant=acme, name="ci", public_id=uuid4().hex[:16], secret_hash=b"0" * 32)
    entry = logged(acme, {}, key_id=key.pk, user="bob", feature="search")
    RequestLog.objects.filter(pk=entry.pk).update(cost_usd=2)
    alert = AlertEvent.objects.create(
        tenant=acme, metric="request_cost", subject_key=f"key:{key.pk}", value=3, threshold=1, message="dear"
    )
    shown = page(olga, entry)
    for row, name in ((key, "tenants_apikey"), (alert, "billing_alertevent"), (acme, "tenants_tenant")):
        assert reverse(f"admin:{name}_change", args=(row.pk,)) in shown
    assert "?feature=search" in shown
    assert "?user=bob" in shown


def test_another_tenants_key_and_alerts_are_not_shown(olga: Client, acme: Tenant) -> None:
    other = Tenant.objects.create(slug="strangers", name="Strangers")
    key = ApiKey.objects.create(
        tenant=other, name="theirs", public_id=uuid4().hex[:16], secret_hash=b"0" * 32
    )
    entry = logged(acme, {}, key_id=key.pk)
    RequestLog.objects.filter(pk=entry.pk).update(cost_usd=2)
    AlertEvent.objects.create(
        tenant=other,
        metric="request_cost",
        subject_key=f"key:{key.pk}",
        value=3,
        threshold=1,
        message="theirs",
    )
    assert "theirs" not in page(olga, entry)
