"""A request without a limit gets what it would have got without us: the model's own maximum."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import fresh_question, turns
from tests.books import Books
from tests.world import Deployment, Member, World

MakeDeployment = Callable[..., Deployment]
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def sent(
    world: World,
    books: Books,
    deployment: Deployment,
    path: str = PATHS[0],
    member: Member | None = None,
    **body: Any,
) -> int | None:
    """The limit that reached the provider."""
    text = fresh_question()
    asked = {"input": text} if path == "/v1/responses" else {"messages": turns(text)}
    status, answer = world.request("POST", path, {"model": deployment.model, **asked, **body}, member=member)
    assert status == 200, answer
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    return call["max_tokens"]  # type: ignore[no-any-return]


def output_limit(world: World, books: Books, model: str, member: Member | None = None) -> dict[str, Any]:
    """The limit of a call as its receipt tells it."""
    body = {"model": model, "messages": turns(fresh_question())}
    status, answer = world.request("POST", PATHS[0], body, member=member)
    assert status == 200, answer
    steps = books.log(answer["purser"]["request_id"]).receipt["steps"]
    (hold,) = [step for step in steps if step["step"] == "hold"]
    return hold["output_limit"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("path", PATHS)
def test_it_works(world: World, books: Books, make_deployment: MakeDeployment, path: str, kind: str) -> None:
    assert sent(world, books, make_deployment(kind), path) == 16_384


@pytest.mark.parametrize(("model", "most"), [("gpt-4.1-nano", 32_768), ("gpt-4o", 16_384)])
def test_whatever_its_tier(world: World, books: Books, model: str, most: int) -> None:
    assert output_limit(world, books, model) == {"sent": most, "set_by": "model"}


@pytest.mark.parametrize(
    "body",
    [{"reasoning_effort": "low"}, {"tools": [{"type": "function", "function": {"name": "look"}}]}],
    ids=["reasoning", "tools"],
)
def test_whatever_it_asks_for(
    world: World, books: Books, make_deployment: MakeDeployment, body: dict[str, Any]
) -> None:
    assert sent(world, books, make_deployment(), **body) == 16_384


def test_what_the_client_asks_for_is_sent(
    world: World, books: Books, make_deployment: MakeDeployment
) -> None:
    assert sent(world, books, make_deployment(), max_tokens=17) == 17


def test_never_more_than_fits_the_window(world: World, books: Books, make_deployment: MakeDeployment) -> None:
    assert 2800 < (sent(world, books, make_deployment(context_window=3000)) or 0) < 3000


def test_a_maximum_that_nobody_declared_is_the_providers_own(
    world: World, books: Books, make_deployment: MakeDeployment
) -> None:
    assert sent(world, books, make_deployment(max_output_tokens=0)) is None
    assert sent(world, books, make_deployment("anthropic", max_output_tokens=0)) == 4096


def test_the_policy_may_ask_for_the_tiers_default(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy={"routing": {"output_limit": "tier"}, "default_max_tokens": {"simple": 77}})
    assert output_limit(world, books, "gpt-4.1-nano", member) == {"sent": 77, "set_by": "tier"}


def test_auto_has_the_tiers_default(world: World, books: Books) -> None:
    assert output_limit(world, books, "auto:simple") == {"sent": 512, "set_by": "tier"}


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_hard_budget_does_not_afford_is_left_out(
    world: World,
    books: Books,
    make_deployment: MakeDeployment,
    make_tenant: Callable[..., Member],
    stream: bool,
) -> None:
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": 1500, "mode": "hard"}]
    )
    deployment = make_deployment()
    with world.openai(member).chat.completions.with_streaming_response.create(
        model=deployment.model, messages=turns(fresh_question()), stream=stream
    ) as response:
        response.read()
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert 1300 < call["max_tokens"] < 1500


def test_a_large_hard_budget_leaves_nothing_out(
    world: World, books: Books, make_deployment: MakeDeployment, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "1000", "mode": "hard"}]
    )
    assert sent(world, books, make_deployment(), member=member) == 16_384


def test_the_estimate_says_which_limit_and_whose(world: World) -> None:
    body = {"messages": turns("Say hello."), "model": "gpt-4o-mini"}
    for more, most, whose in (
        ({}, 16_384, ["model"]),
        ({"max_tokens": 9}, 9, ["client"]),
        ({"model": "auto"}, 512, ["tier"]),
    ):
        status, answer = world.request("POST", "/v1/estimate", {**body, **more})
        assert status == 200
        found = {one["tier"]: one for one in answer["models"]}.get("simple") or answer["models"][0]
        assert (found["max_output_tokens"], found["output_limit_set_by"]) == (most, whose)
