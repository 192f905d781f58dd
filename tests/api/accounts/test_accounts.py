"""The tenant's own figures: usage, budgets, receipts, estimates, feedback."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.api.conftest import ask, ask_claude, fresh_question, turns
from tests.books import Books, eventually
from tests.world import Member, World

MONTH = {"scope": "tenant", "unit": "usd", "period": "month", "limit": "10", "mode": "hard"}
EACH_USER = {"scope": "user", "unit": "tokens", "period": "day", "limit": "100000", "mode": "hard"}


def test_it_works(world: World, books: Books, make_tenant: Callable[..., Member]) -> None:
    """Usage and budgets say what the ledger says, to the last digit."""
    member = make_tenant(budgets=[MONTH, EACH_USER])
    client = world.openai(member)
    text = fresh_question()
    for user, model in (("alice", "gpt-4o-mini"), ("alice", "gpt-4o"), ("bob", "claude-haiku-4-5")):
        ask(client, text, model=model, user=user, max_tokens=50)
    list(client.chat.completions.create(model="gpt-4o", messages=turns(text[1:]), stream=True, user="bob"))
    books.settled(member.id, count=4)
    rows = books.rows(member.id)
    total = sum((row.billed_cost for row in rows), Decimal(0))
    status, usage = world.get("/v1/usage?group_by=user", member)
    assert status == 200
    assert usage["total"]["requests"] == len(rows) == 4
    assert Decimal(usage["total"]["cost_usd"]) == total
    for line in usage["data"]:
        own = [row for row in rows if row.user_id == line["group"]]
        assert Decimal(line["cost_usd"]) == sum((row.billed_cost for row in own), Decimal(0))
        assert line["output_tokens"] == sum(row.output_tokens for row in own)
    books.check_windows(member.id)
    status, budgets = world.get("/v1/budgets?user=alice", member)
    by_scope = {budget["scope"]: budget for budget in budgets["data"]}
    assert Decimal(by_scope["tenant"]["spent"]) == total
    assert Decimal(by_scope["tenant"]["remaining"]) == 10 - total
    assert by_scope["user"]["subject"] == "alice"
    assert Decimal(by_scope["user"]["spent"]) == sum(
        row.input_tokens + row.output_tokens for row in rows if row.user_id == "alice"
    )


@pytest.mark.parametrize("group", ["model", "key", "feature", "endpoint", "provider", "cost_center", "day"])
def test_usage_is_grouped(world: World, group: str) -> None:
    ask(world.openai(), user="alice", extra_headers={"x-purser-feature": "search"})
    status, usage = world.get(f"/v1/usage?group_by={group}")
    expected = {
        "model": "gpt-4o-mini",
        "key": "main",
        "feature": "search",
        "endpoint": "/v1/chat/completions",
        "provider": "sandbox-openai",
        "cost_center": "4711",
    }
    assert status == 200
    (line,) = usage["data"]
    assert line["group"] == expected.get(group, line["group"])
    assert line["requests"] == 1


def test_wrong_questions_about_usage_are_refused(world: World) -> None:
    for query, param in (
        ("group_by=colour", "group_by"),
        ("start=yesterday", "start"),
        ("start=2020-01-01&end=2026-01-01", "end"),
    ):
        status, body = world.get(f"/v1/usage?{query}")
        assert (status, body["error"]["param"]) == (400, param)


def test_a_refusal_has_a_receipt_that_says_why(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(budgets=[{**MONTH, "limit": "0.000001"}])
    status, body = world.request(
        "POST",
        "/v1/chat/completions",
        {"model": "gpt-4o", "messages": turns(fresh_question()), "max_tokens": 500},
        member=member,
    )
    assert (status, body["error"]["code"]) == (429, "budget_exceeded")
    from llm.models import RequestLog

    log = eventually(lambda: RequestLog.objects.filter(tenant=member.id).first())
    status, receipt = world.get(f"/v1/requests/{log.request_id}", member)
    assert status == 200
    assert (receipt["status"], receipt["error_code"]) == (429, "budget_exceeded")
    assert receipt["steps"][-1]["message"] == body["error"]["message"]
    assert receipt["result"] is None


def test_a_call_is_known_as_soon_as_it_is_answered(world: World) -> None:
    """Its row is written a moment later: whoever asks at once waits for that."""
    for look in ("receipt", "feedback") * 3:
        status, answer = world.request(
            "POST", "/v1/chat/completions", {"model": "gpt-4o-mini", "messages": turns(fresh_question())}
        )
        assert status == 200
        request_id = answer["purser"]["request_id"]
        if look == "receipt":
            assert world.get(f"/v1/requests/{request_id}")[1]["request_id"] == request_id
        else:
            assert world.request("POST", "/v1/feedback", {"request_id": request_id, "rating": 1})[0] == 201


def test_an_estimate_calls_nobody(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment()
    body = {"model": deployment.model, "messages": turns("Tell me about rivers."), "max_tokens": 100}
    status, estimate = world.request("POST", "/v1/estimate", body)
    assert status == 200
    (offer,) = estimate["models"]
    assert Decimal(offer["upper_bound_usd"]) >= Decimal(offer["expected_cost_usd"]) > 0
    assert books.calls(key=deployment.account_key) == []
    assert books.rows(world.acme.id) == []
    answer = ask(world.openai(), "Tell me about rivers.", model=deployment.model, max_tokens=100)
    assert Decimal(answer.headers["x-purser-cost-usd"]) <= Decimal(offer["upper_bound_usd"])


def test_an_estimate_of_a_volume_compares_models(world: World) -> None:
    calls = [{"model": "auto", "messages": turns(text), "max_tokens": 50} for text in ("Hello", "Good bye")]
    status, estimate = world.request("POST", "/v1/estimate", {"calls": calls, "volume": 1000})
    assert status == 200
    assert (estimate["calls"], estimate["volume"]) == (2, 1000)
    names = [offer["model"] for offer in estimate["models"]]
    assert names[0] == "gpt-4.1-nano"
    assert {"gpt-4o", "claude-haiku-4-5"} <= set(names)
    for offer in estimate["models"]:
        assert Decimal(offer["upper_bound_usd_at_volume"]) == Decimal(offer["upper_bound_usd"]) * 500


def test_an_estimate_of_embeddings_has_no_output(world: World) -> None:
    status, estimate = world.request(
        "POST", "/v1/estimate", {"model": "text-embedding-3-small", "input": "one two three"}
    )
    assert status == 200
    assert estimate["models"][0]["expected_output_tokens"] == 0


def test_a_temporary_raise_counts_at_once(world: World, make_tenant: Callable[..., Member]) -> None:
    from datetime import UTC, datetime, timedelta

    from billing.budgets.raises import raise_budget
    from billing.models import Budget

    member = make_tenant(budgets=[{**MONTH, "limit": "0.000001"}])
    body = {"model": "gpt-4o-mini", "messages": turns(fresh_question()), "max_tokens": 50}
    assert world.request("POST", "/v1/chat/completions", body, member=member)[0] == 429
    raise_budget(
        Budget.objects.get(tenant=member.id),
        extra_amount=Decimal(1),
        ends_at=datetime.now(UTC) + timedelta(hours=1),
        reason="end of quarter",
        acting_user=None,
    )
    _, answer = eventually(
        lambda: world.request("POST", "/v1/chat/completions", body, member=member),
        until=lambda answer: answer[0] == 200,
    )
    assert Decimal(answer["purser"]["budget_remaining"]["remaining"]) < 1


def test_a_soft_budget_lets_calls_pass(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(budgets=[{**MONTH, "limit": "0.000001", "mode": "soft"}])
    answer = ask(world.openai(member))
    assert answer.headers["x-purser-budget-remaining"].startswith("-")
    books.check_windows(member.id)


def test_an_answer_is_shortened_to_what_a_budget_affords(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment
) -> None:
    deployment = make_deployment()
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": "300", "mode": "hard"}]
    )
    assert ask(world.openai(member), "Write 400 words about the sea.", model=deployment.model).parse().choices
    (call,) = books.calls(key=deployment.account_key)
    assert 64 <= call["max_tokens"] < 300
    (window,) = books.windows(member.id)
    assert window.spent <= 300


def test_budgets_count_every_protocol(world: World, books: Books, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(
        budgets=[
            MONTH,
            {"scope": "tenant", "unit": "tokens", "period": "day", "limit": "1000000", "mode": "hard"},
        ]
    )
    client = world.openai(member)
    ask(client)
    ask_claude(world.anthropic(member))
    ask_claude(world.anthropic(member), model="gpt-4o-mini")
    client.responses.create(model="gpt-4o-mini", input=fresh_question())
    list(client.responses.create(model="claude-haiku-4-5", input=fresh_question(), stream=True))
    client.embeddings.create(model="text-embedding-3-small", input="one two three")
    books.settled(member.id, count=6)
    assert len(books.rows(member.id)) == 6
    books.check_windows(member.id)
