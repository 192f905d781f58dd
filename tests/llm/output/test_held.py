"""What is held for answers without a limit: what such calls need, and all that may come where a hard budget counts."""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.api.conftest import events_of, fresh_question, turns
from tests.books import Books
from tests.world import Deployment, Member, World

MakeDeployment = Callable[..., Deployment]
MakeTenant = Callable[..., Member]
CHAT = "/v1/chat/completions"


def tokens(limit: int) -> list[dict[str, Any]]:
    return [{"scope": "tenant", "unit": "tokens", "period": "day", "limit": limit, "mode": "hard"}]


def ask(world: World, member: Member, deployment: Deployment, text: str = "", **body: Any) -> int:
    content = {"model": deployment.model, "messages": turns(text or fresh_question()), **body}
    return world.request("POST", CHAT, content, member=member)[0]


def stream(
    world: World, member: Member, deployment: Deployment, text: str, **body: Any
) -> list[dict[str, Any]]:
    with world.openai(member).chat.completions.with_streaming_response.create(
        model=deployment.model, messages=turns(text), stream=True, **body
    ) as response:
        return events_of("\n".join(response.iter_lines()))


def test_it_works(
    world: World, books: Books, make_deployment: MakeDeployment, make_tenant: MakeTenant
) -> None:
    """Without a hard budget nothing is lost when more comes than was held: what is usual is held."""
    member, deployment = make_tenant(), make_deployment()
    assert ask(world, member, deployment) == 200
    (attempt,) = books.settled(member.id)
    assert 2048 < attempt.hold_tokens < 2200


def test_a_stream_holds_what_is_usual_and_is_extended_to_its_end(
    world: World, books: Books, make_deployment: MakeDeployment, make_tenant: MakeTenant
) -> None:
    member = make_tenant(budgets=tokens(20_000), policy={"default_max_tokens": {"standard": 100}})
    deployment = make_deployment()
    events = stream(world, member, deployment, f"Write 900 words about {fresh_question()}")
    assert "cut" not in events[-1]["purser"]
    (attempt,) = books.settled(member.id)
    (row,) = books.rows(member.id)
    assert row.output_tokens > 600
    assert attempt.hold_tokens < 3000
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert call["max_tokens"] == 16_384
    books.check_windows(member.id)


@pytest.mark.parametrize("body", [{}, {"stream": True, "reasoning_effort": "low"}], ids=["whole", "thoughts"])
def test_what_cannot_be_seen_coming_is_held(
    world: World, books: Books, make_deployment: MakeDeployment, make_tenant: MakeTenant, body: dict[str, Any]
) -> None:
    """An answer that comes at once, or after thoughts that nobody shows, is never longer than its hold."""
    member, deployment = make_tenant(budgets=tokens(40_000)), make_deployment()
    with world.openai(member).chat.completions.with_streaming_response.create(
        model=deployment.model, messages=turns(fresh_question()), **body
    ) as response:
        response.read()
    (attempt,) = books.settled(member.id)
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert 8192 < call["max_tokens"] <= attempt.hold_tokens <= 40_000
    assert attempt.hold_tokens < 25_000  # others have room beside it


def test_a_hard_budget_is_not_passed_by_calls_at_one_time(
    world: World, books: Books, make_deployment: MakeDeployment, make_tenant: MakeTenant
) -> None:
    """Whatever they write: all of what their limits allow is within the budget. And several fit beside each other."""
    member, deployment = make_tenant(budgets=tokens(60_000)), make_deployment()
    world.fault(fault="slow", delay_ms=1500, times=12, match={"key": deployment.account_key})
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(world, member, deployment))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attempts = [one for one in books.settled(member.id) if one.state != "voided"]
    answered = statuses.count(200)
    assert statuses.count(429) == 12 - answered
    assert answered >= 4
    calls = books.ended_calls(count=answered, key=deployment.account_key)
    assert len(attempts) == len(calls) == answered
    assert sum(call["max_tokens"] for call in calls) <= sum(one.hold_tokens for one in attempts)
    (window,) = books.windows(member.id)
    assert (window.held, window.overrun) == (0, 0)
    assert window.spent <= Decimal(60_000)


def test_answers_at_their_limit_do_not_pass_a_hard_budget(
    world: World, books: Books, make_deployment: MakeDeployment, make_tenant: MakeTenant
) -> None:
    member, deployment = make_tenant(budgets=tokens(2000)), make_deployment()
    for _ in range(4):
        ask(world, member, deployment, f"Write 1500 words about rivers. {fresh_question()}")
    (window,) = books.windows(member.id)
    assert (window.held, window.overrun) == (0, 0)
    assert 0 < window.spent <= 2000


def test_who_wants_no_extension_holds_it_all(
    world: World, books: Books, make_deployment: MakeDeployment, make_tenant: MakeTenant
) -> None:
    member = make_tenant(policy={"budgets": {"stream_overrun": "cut"}})
    deployment = make_deployment()
    stream(world, member, deployment, fresh_question())
    (attempt,) = books.settled(member.id)
    assert attempt.hold_tokens > 16_384
