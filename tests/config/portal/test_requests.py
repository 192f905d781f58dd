"""Requests in the portal: a member's own, an owner's whole tenant; why one was refused, and the way to a raise."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.utils.timezone import now

from billing.models import Budget
from llm.models import RequestLog
from tenants.models import Tenant
from tests.config.portal.conftest import House


def log(tenant: Tenant, *, user: str, **fields: Any) -> RequestLog:
    values: dict[str, Any] = {
        "at": now(), "endpoint": "chat", "model_asked": "gpt-4o", "model": "gpt-4o", "cache_state": "miss", "status": 200,
        "cost_usd": Decimal("0.0125"), "list_cost_usd": Decimal("0.02"), "receipt": {"steps": [], "status": 200},
    }  # fmt: skip
    return RequestLog.objects.create(request_id=uuid4(), tenant=tenant, user=user, **values | fields)


def test_it_works(house: House) -> None:
    entry = log(house.acme, user="bob")
    bob = house.client(house.bob)
    assert str(entry.pk) in bob.get(house.at("requests/")).text
    page = bob.get(house.at(f"requests/{entry.pk}/")).text
    assert "$0.01250" in page
    assert "What happened" in page


def test_a_member_sees_her_own_and_an_owner_all(house: House) -> None:
    hers, his, foreign = (
        log(house.acme, user="alice"),
        log(house.acme, user="bob"),
        log(house.umbrella, user="bob"),
    )
    bob, alice = house.client(house.bob), house.client(house.alice)
    for client, seen in ((bob, {his}), (alice, {hers, his})):
        listed = client.get(house.at("requests/")).text
        for entry in (hers, his, foreign):
            assert (str(entry.pk) in listed) == (entry in seen)
            assert client.get(house.at(f"requests/{entry.pk}/")).status_code == (
                200 if entry in seen else 404
            )
            found = client.get(house.at(f"requests/?q={entry.pk}")).text
            assert (f"/requests/{entry.pk}/" in found) == (entry in seen)
    by_finance = house.client(house.fay).get(house.at("requests/")).text
    assert all((str(entry.pk) in by_finance) == (entry in {hers, his}) for entry in (hers, his, foreign))


def test_a_person_without_a_user_id_sees_no_requests(house: House) -> None:
    log(house.acme, user="")
    house.acme.memberships.filter(user=house.bob).update(person="")
    assert "No request in this time" in house.client(house.bob).get(house.at("requests/")).text


def test_older_ones_follow_page_by_page_and_none_is_missed(house: House) -> None:
    at = now()
    made = {
        str(log(house.acme, user="bob", at=at - timedelta(seconds=number // 2)).pk) for number in range(120)
    }
    bob, seen, address = house.client(house.bob), set[str](), house.at("requests/")
    for _ in range(3):
        page = bob.get(address).text
        seen |= {one for one in made if one in page}
        if "Older ones" not in page:
            break
        further = page.split('href="?')[-1].split('"')[0].replace("&amp;", "&")
        address = house.at(f"requests/?{further}")
    assert seen == made
    assert bob.get(house.at("requests/?before=nonsense~x")).status_code == 200


def test_a_refusal_leads_to_the_raise_that_lets_it_through(house: House) -> None:
    budget = Budget.objects.create(
        tenant=house.acme, scope="user", value="bob", unit="usd", period="day", limit_amount=Decimal(5)
    )
    facts = {
        "code": "budget_exceeded", "message": "The user budget has 0.5 USD left.", "budget": "user budget", "scope": "user",
        "subject": "bob", "unit": "usd", "period": "day", "limit": "5", "spent": "4.5", "held": "0", "asked": "0.75",
        "remaining": "0.5",
    }  # fmt: skip
    entry = log(
        house.acme,
        user="bob",
        status=429,
        error_code="budget_exceeded",
        receipt={"steps": [], "refusal": facts},
    )
    page = house.client(house.bob).get(house.at(f"requests/{entry.pk}/")).text
    assert "0.25 USD more" in page
    assert f"{house.at(f'budgets/{budget.pk}/raise/')}?extra_amount=0.25" in page
    assert "/admin/" not in page


def test_nobodys_question_is_shown(house: House) -> None:
    step = {
        "step": "semantic_cache",
        "outcome": "hit",
        "candidates": [{"similarity": 0.99, "question": "What does Ann earn?"}],
    }
    entry = log(house.acme, user="alice", receipt={"steps": [step], "status": 200})
    alice = house.client(house.alice)
    for view in ("", "?view=raw"):
        page = alice.get(house.at(f"requests/{entry.pk}/{view}")).text
        assert "0.99" in page
        assert "What does Ann earn?" not in page
