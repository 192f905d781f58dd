"""A second call when the first byte is late: the faster one answers, and both stand in the books."""

from collections.abc import Callable

import pytest

from llm.steps.hedging import HedgeAllowance
from tests.api.conftest import ask, events_of, fresh_question, purser_of, turns
from tests.books import Books
from tests.llm.conftest import Spread
from tests.world import Member, World

MakeSpread = Callable[..., Spread]
LATE = {"fault": "slow", "delay_ms": 20_000}


@pytest.fixture
def hedger(make_tenant: Callable[..., Member]) -> Callable[..., Member]:
    def make(**hedging: object) -> Member:
        return make_tenant(
            policy={"hedging": {"after_ms": 300, "max_percent": 50, **hedging}},
            budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "10", "mode": "hard"}],
        )

    return make


def stream(world: World, member: Member, model: str) -> list[dict]:
    with world.openai(member).chat.completions.with_streaming_response.create(
        model=model, messages=turns(fresh_question()), stream=True, max_tokens=20
    ) as response:
        return events_of("\n".join(response.iter_lines()))


def test_it_works(world: World, books: Books, hedger, make_spread: MakeSpread) -> None:
    """The second call goes to another account and answers; the first is called off and booked with its input."""
    member, spread = hedger(), make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(**LATE, match={"key": spread.keys[0]})
    events = stream(world, member, spread.model)
    assert "error" not in events[-1]
    attempts = books.settled(member.id, count=2)
    assert [(one.provider, one.state) for one in attempts] == [
        (spread.accounts[0].provider, "estimated"),
        (spread.accounts[1].provider, "captured"),
    ]
    late, answering = books.rows(member.id)
    if late.provider != spread.accounts[0].provider:
        late, answering = answering, late
    assert (late.reason, late.output_tokens) == ("hedge_lost", 0)
    assert late.input_tokens > 0
    receipt = books.log(events[-1]["purser"]["request_id"]).receipt
    assert [attempt["why"] for attempt in receipt["attempts"]] == [
        "first choice",
        "hedge: no first byte after 300 ms",
    ]
    assert [attempt["reason"] for attempt in receipt["attempts"]] == ["hedge_lost", None]
    assert events[-1]["purser"]["cost_usd"] == f"{late.billed_cost + answering.billed_cost:.12f}"
    books.check_windows(member.id)
    calls = [call for key in spread.keys for call in books.ended_calls(count=1, key=key)]
    assert late.input_tokens >= calls[0]["billed"].get("input", 0)


def test_the_first_call_may_still_be_the_faster_one(
    world: World, books: Books, hedger, make_spread: MakeSpread
) -> None:
    member, spread = hedger(), make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(fault="slow", delay_ms=3000, match={"key": spread.keys[0]})
    world.fault(fault="slow", delay_ms=60_000, match={"key": spread.keys[1]})
    events = stream(world, member, spread.model)
    assert events[-1]["purser"]["provider"] == spread.accounts[0].provider
    attempts = books.settled(member.id, count=2)
    assert [one.state for one in attempts] == ["captured", "estimated"]
    books.check_windows(member.id)


def test_a_call_that_begins_in_time_is_not_hedged(
    world: World, books: Books, hedger, make_spread: MakeSpread
) -> None:
    member, spread = hedger(after_ms=60_000), make_spread({}, {})
    stream(world, member, spread.model)
    assert len(books.settled(member.id)) == 1


def test_it_is_off_by_default(world: World, books: Books, member: Member, make_spread: MakeSpread) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(fault="slow", delay_ms=1000, match={"key": spread.keys[0]})
    stream(world, member, spread.model)
    assert [one.state for one in books.settled(member.id)] == ["captured"]


def test_a_whole_answer_is_hedged_where_the_policy_says_so(
    world: World, books: Books, hedger, make_spread: MakeSpread
) -> None:
    """A whole answer is billed to its end, whoever waits for it: the loser is booked at its bound."""
    member, spread = hedger(whole_answers=True), make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(**LATE, match={"key": spread.keys[0]})
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    assert purser_of(answer)["provider"] == spread.accounts[1].provider
    lost, captured = books.settled(member.id, count=2)
    assert (lost.state, captured.state) == ("estimated", "captured")
    rows = books.rows(member.id)
    (late,) = [row for row in rows if row.reason == "hedge_lost"]
    assert late.billed_cost == lost.hold_usd
    assert answer.headers["x-purser-cost-usd"] == f"{sum(row.billed_cost for row in rows):.12f}"
    (call,) = books.ended_calls(count=1, key=spread.keys[0])
    assert late.output_tokens >= call["billed"]["output"]
    books.check_windows(member.id)


def test_a_model_with_one_account_is_asked_there_again(
    world: World, books: Books, hedger, make_deployment: Callable
) -> None:
    member, deployment = hedger(), make_deployment()
    world.fault(**LATE, match={"key": deployment.account_key})
    assert "error" not in stream(world, member, deployment.model)[-1]
    assert sorted(one.state for one in books.settled(member.id, count=2)) == ["captured", "estimated"]
    assert len(books.ended_calls(count=2, key=deployment.account_key)) == 2


def test_when_the_first_fails_the_second_answers(
    world: World, books: Books, hedger, make_spread: MakeSpread
) -> None:
    member, spread = hedger(), make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(fault="status:500", delay_ms=2000, match={"key": spread.keys[0]})
    world.fault(fault="slow", delay_ms=8000, match={"key": spread.keys[1]})
    assert "error" not in stream(world, member, spread.model)[-1]
    assert [one.state for one in books.settled(member.id, count=2)] == ["voided", "captured"]
    books.check_windows(member.id)


def test_when_both_fail_the_call_is_tried_again(
    world: World, books: Books, hedger, make_spread: MakeSpread
) -> None:
    member, spread = hedger(), make_spread({"weight": 1000}, {"weight": 0.001})
    for key in spread.keys:
        world.fault(fault="status:500", delay_ms=1000, match={"key": key})
    assert "error" not in stream(world, member, spread.model)[-1]
    assert [one.state for one in books.settled(member.id, count=3)] == ["voided", "voided", "captured"]
    books.check_windows(member.id)


def test_a_second_call_that_the_budget_does_not_afford_is_not_made(
    world: World, books: Books, make_tenant, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(fault="slow", delay_ms=3000, match={"key": spread.keys[0]})
    member = make_tenant(
        policy={"hedging": {"after_ms": 300}},
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": 80, "mode": "hard"}],
    )
    events = stream(world, member, spread.model)
    assert [one.state for one in books.settled(member.id)] == ["captured"]
    steps = books.log(events[-1]["purser"]["request_id"]).receipt["steps"]
    (hedge,) = [step for step in steps if step["step"] == "hedge"]
    assert hedge["outcome"] == "not sent"
    assert hedge["reason"].startswith("budget_exceeded: ")
    assert spread.calls(books)[1] == 0


class TestAllowance:
    def test_it_works(self) -> None:
        """One at once, then no more than the share of the calls."""
        allowance, sent = HedgeAllowance(), 0
        for _ in range(1000):
            allowance.earn(1, percent=5)
            sent += allowance.spend(1)
        assert 50 <= sent <= 52

    def test_what_was_not_used_is_not_saved_up_for_ever(self) -> None:
        allowance = HedgeAllowance()
        for _ in range(10_000):
            allowance.earn(1, percent=5)
        assert [allowance.spend(1) for _ in range(7)] == [True] * 5 + [False] * 2

    def test_tenants_have_their_own(self) -> None:
        allowance = HedgeAllowance()
        allowance.earn(1, percent=5)
        assert allowance.spend(1)
        assert not allowance.spend(2)
