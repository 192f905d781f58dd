"""Why was this refused? Every kind of refusal is found in the admin by its request id, with the numbers that decided it."""

import html
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from llm.calls.refusals import BURST_ROWS, MOST_TENANTS, RowAllowance
from tests.api.conftest import fresh_question, turns
from tests.books import Books, eventually
from tests.world import Member, World

SECRET_WORDS = "the prompt's own secret words"


def ask(world: World, member: Member, **body: Any) -> tuple[int, dict[str, Any], str]:
    """A call, its answer, and its request id as the client sees it."""
    import urllib.error
    import urllib.request

    content = {"model": "gpt-4o-mini", "messages": turns(f"{SECRET_WORDS}. {fresh_question()}"), **body}
    request = urllib.request.Request(
        f"{world.stack.base_url}/v1/chat/completions",
        data=json.dumps(content).encode(),
        headers={"authorization": f"Bearer {member.key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response), response.headers["x-request-id"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers["x-request-id"]


def page_of(operator: Client, request_id: str) -> str:
    """What the admin shows who pastes a request id into the search box and opens what it finds."""
    url = reverse("admin:llm_requestlog_changelist")
    found = eventually(
        lambda: operator.get(url, {"q": request_id}).content.decode(),
        until=lambda page: reverse("admin:llm_requestlog_change", args=[request_id]) in page,
    )
    assert request_id in found
    response = operator.get(reverse("admin:llm_requestlog_change", args=[request_id]))
    assert response.status_code == 200
    return response.content.decode()


def check(
    operator: Client,
    books: Books,
    answer: tuple[int, dict[str, Any], str],
    *,
    code: str,
    tenant: int | None,
    **facts: Any,
) -> dict[str, Any]:
    """The refusal is the one meant, and the admin shows its numbers; what it says, for more to be asserted."""
    status, body, request_id = answer
    assert body["error"]["code"] == code
    page = page_of(operator, request_id)
    log = books.log(request_id)
    refusal: dict[str, Any] = log.receipt["refusal"]
    assert (log.status, log.error_code, log.tenant_id) == (status, code, tenant)
    assert (refusal["status"], refusal["code"]) == (status, code)
    assert {name: refusal[name] for name in facts} == facts
    assert code in page
    for value in facts.values():
        for one in value if isinstance(value, list) else [value]:
            assert html.escape(str(one)) in page
    assert SECRET_WORDS not in json.dumps(log.receipt)
    assert SECRET_WORDS not in page
    assert len(json.dumps(log.receipt)) < 4000
    return refusal


def test_it_works(world: World, books: Books, make_tenant: Callable[..., Member], operator: Client) -> None:
    """A budget: which one, its limit, spent, held, asked for, and when it resets."""
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": "50", "mode": "hard"}]
    )
    answer = ask(world, member, max_tokens=500)
    refusal = check(
        operator,
        books,
        answer,
        code="budget_exceeded",
        tenant=member.id,
        budget="tenant budget of 50 tokens per day",
        limit="50",
        spent="0",
        held="0",
        remaining="50",
    )
    assert int(refusal["asked"]) > 500
    assert refusal["resets_at"] > now().isoformat()
    assert refusal["retry_after_seconds"] > 0
    # its tenant reads the same in the receipt
    status, receipt = world.get(f"/v1/requests/{answer[2]}", member)
    assert (status, receipt["refusal"]) == (200, refusal)


def test_a_rate_limit(
    world: World, books: Books, make_tenant: Callable[..., Member], operator: Client
) -> None:
    member = make_tenant(rate_limits={"tpm": 10})
    check(
        operator,
        books,
        ask(world, member, max_tokens=500),
        code="rate_limit_exceeded",
        tenant=member.id,
        limit_of=f"tenant {member.slug}",
        meter="tokens",
        limit=10,
        used=0,
    )


def test_a_model_that_the_key_may_not_use(
    world: World, books: Books, make_tenant: Callable[..., Member], operator: Client
) -> None:
    member = make_tenant(key={"models": ["claude-*"]})
    check(
        operator,
        books,
        ask(world, member),
        code="model_not_allowed",
        tenant=member.id,
        model="gpt-4o-mini",
        allowed=["claude-*"],
    )


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_key_that_has_ended(
    world: World, books: Books, make_tenant: Callable[..., Member], operator: Client, end: str
) -> None:
    from tenants.models import ApiKey

    member = make_tenant()
    key = ApiKey.objects.get(tenant=member.id)
    setattr(key, f"{end}_at" if end == "revoked" else "expires_at", now() - timedelta(minutes=1))
    key.save()
    answer = eventually(lambda: ask(world, member), until=lambda answer: answer[0] == 401)
    check(operator, books, answer, code=f"{end}_api_key", tenant=member.id, key="main", key_id=key.public_id)
    assert books.log(answer[2]).key_id == key.pk


def test_a_key_that_nobody_issued(world: World, books: Books, operator: Client) -> None:
    """Nobody knows whose it is, so the row is an operator's alone, and holds nothing of the key."""
    stranger = Member("nobody", f"sk-{uuid4().hex}", 0)
    answer = ask(world, stranger)
    check(operator, books, answer, code="invalid_api_key", tenant=None)
    assert stranger.key not in json.dumps(books.log(answer[2]).receipt)
    assert world.get(f"/v1/requests/{answer[2]}")[0] == 404


@pytest.mark.parametrize("body", [{"messages": 7}, {"max_tokens": "many"}, {"model": ""}])
def test_an_invalid_request(world: World, books: Books, operator: Client, body: dict[str, Any]) -> None:
    (param,) = body
    answer = ask(world, world.acme, **body)
    check(operator, books, answer, code="invalid_request", tenant=world.acme.id, param=param)


def test_a_provider_that_is_given_a_rest(
    world: World, books: Books, make_deployment, operator: Client
) -> None:
    deployment = make_deployment()
    world.fault(fault="status:500", match={"key": deployment.account_key}, times=-1)
    answer = eventually(
        lambda: ask(world, world.acme, model=deployment.model), until=lambda answer: answer[0] == 503
    )
    check(
        operator,
        books,
        answer,
        code="provider_unavailable",
        tenant=world.acme.id,
        provider=deployment.provider,
        model=deployment.model,
        breaker="open",
    )


def test_who_searches_for_nonsense_finds_nothing(operator: Client) -> None:
    response = operator.get(reverse("admin:llm_requestlog_changelist"), {"q": "no such id"}, follow=True)
    assert response.status_code == 200


def test_a_flood_of_refusals_leaves_few_rows() -> None:
    """Each tenant's apart: one that floods hides no other's."""
    time = 0.0
    allowance = RowAllowance(lambda: time)
    assert sum(allowance.take(1) for _ in range(BURST_ROWS * 10)) == BURST_ROWS
    assert allowance.take(2)
    assert allowance.take(None)
    time += 1
    assert sum(allowance.take(1) for _ in range(100)) == 5
    for tenant in range(3, MOST_TENANTS + 100):
        allowance.take(tenant)
    assert len(allowance) == MOST_TENANTS
