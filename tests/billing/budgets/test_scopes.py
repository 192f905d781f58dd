"""Every scope, unit and period of a budget, through the running product."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import fresh_question, turns
from tests.world import Member, World

MINI, CLAUDE = "gpt-4o-mini", "claude-haiku-4-5"
# (the budget's value, what a call of that value looks like, what one of another value looks like)
SCOPES: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "user": ("alice", {"x-purser-user": "alice"}, {"x-purser-user": "bob"}),
    "feature": ("search", {"x-purser-feature": "search"}, {"x-purser-feature": "chat"}),
    "project": ("apollo", {"x-purser-tags": "project=apollo"}, {"x-purser-tags": "project=gemini"}),
    "cost_center": ("4711", {"x-purser-user": "alice"}, {"x-purser-user": "bob"}),
    "model": (MINI, {"model": MINI}, {"model": CLAUDE}),
    "provider": ("sandbox-openai", {"model": MINI}, {"model": CLAUDE}),
}


def ask(world: World, member: Member, marks: dict[str, str]) -> tuple[int, Any]:
    headers = {name: value for name, value in marks.items() if name != "model"}
    body = {"model": marks.get("model", MINI), "messages": turns(fresh_question()), "max_tokens": 5}
    return world.request("POST", "/v1/chat/completions", body, member=member, headers=headers)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("is_named", [True, False], ids=["one", "each"])
def test_it_limits_its_own_and_nobody_else(
    world: World, make_tenant: Callable[..., Member], scope: str, is_named: bool
) -> None:
    value, mine, others = SCOPES[scope]
    named = {"value": value} if is_named else {}
    member = make_tenant(
        budgets=[{"scope": scope, "unit": "requests", "period": "day", "limit": 1, "mode": "hard", **named}]
    )
    assert ask(world, member, mine)[0] == 200
    status, refusal = ask(world, member, mine)
    assert (status, refusal["error"]["code"]) == (429, "budget_exceeded")
    assert scope.replace("_", " ") in refusal["error"]["message"]
    assert ask(world, member, others)[0] == 200
    if not is_named and scope != "cost_center":  # each other one has one of its own; bob is of no cost centre
        assert ask(world, member, others)[0] == 429


def test_a_key_has_a_budget_of_its_own(world: World, make_tenant: Callable[..., Member]) -> None:
    budget = {
        "scope": "key",
        "value": "main",
        "unit": "requests",
        "period": "day",
        "limit": 1,
        "mode": "hard",
    }
    member = make_tenant(budgets=[budget])
    assert [ask(world, member, {})[0] for _ in range(2)] == [200, 429]
    other = make_tenant(budgets=[budget | {"value": "another"}])
    assert [ask(world, other, {})[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("unit", "limit", "period"),
    [
        ("usd", "0.0000001", "day"),
        ("tokens", 3, "week"),
        ("requests", "0.5", "month"),
        ("tokens", 3, "total"),
    ],
)
def test_every_unit_and_every_period_limits(
    world: World, make_tenant: Callable[..., Member], unit: str, limit: Any, period: str
) -> None:
    budget = {"scope": "tenant", "unit": unit, "period": period, "limit": limit}
    status, refusal = ask(world, make_tenant(budgets=[budget | {"mode": "hard"}]), {})
    assert (status, refusal["error"]["code"]) == (429, "budget_exceeded")
    assert ask(world, make_tenant(budgets=[budget | {"mode": "soft"}]), {})[0] == 200
