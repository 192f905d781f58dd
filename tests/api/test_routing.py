"""Which model answers: `auto`, tiers, forced models, long prompts, budget pressure; and the receipt says why."""

from collections.abc import Callable

import anthropic
import openai
import pytest

from tests.api.conftest import ask, ask_claude, fresh_question, purser_of, turns
from tests.books import Books
from tests.world import Member, World

HARD = (
    "Analyze step by step why the exchange rate of a card payment differs from the interbank rate, prove which of "
    "three causes dominates, and design an algorithm that detects the others. Case {}."
)


def test_it_works(world: World, books: Books) -> None:
    answer = ask(world.openai(), HARD.format(fresh_question()), model="auto")
    block = purser_of(answer)
    assert block["route"]["tier"] == "complex"
    assert block["model"] == "gpt-4o"
    log = books.log(block["request_id"])
    assert (log.model_asked, log.model, log.tier) == ("auto", "gpt-4o", "complex")
    assert log.route_reason
    row = books.row(block["request_id"])
    assert (row.model_asked, row.model, row.tier) == ("auto", "gpt-4o", "complex")


def test_a_light_question_goes_to_a_cheap_model(world: World) -> None:
    answer = ask(world.openai(), f"Say hello to {fresh_question()}"[:40], model="auto")
    assert purser_of(answer)["model"] in ("gpt-4.1-nano", "gpt-4o-mini")


@pytest.mark.parametrize(
    ("tier", "model"), [("simple", "gpt-4.1-nano"), ("standard", "gpt-4o-mini"), ("complex", "gpt-4o")]
)
def test_a_tier_is_asked_for_by_name_or_by_header(world: World, tier: str, model: str) -> None:
    client = world.openai()
    by_name = ask(client, model=f"auto:{tier}")
    by_header = ask(client, model="auto", extra_headers={"x-purser-tier": tier})
    for answer in (by_name, by_header):
        assert answer.headers["x-purser-route"] == f"{tier}; declared tier"
        assert answer.headers["x-purser-model"] == model


def test_what_a_model_cannot_be_asked_for_chooses_another(world: World, books: Books) -> None:
    """`top_k` is Anthropic's own: the cheaper models of OpenAI could only refuse it."""
    answer = ask_claude(world.anthropic(), model="auto:standard", extra_body={"top_k": 5})
    block = purser_of(answer)
    assert block["model"] == "claude-haiku-4-5"
    rejected = {one["model"]: one["rejected"] for one in block["route"]["considered"]}
    assert rejected["gpt-4o-mini"] == "cannot be asked for 'top_k'"
    assert rejected["claude-haiku-4-5"] == ""
    assert books.row(block["request_id"]).model == "claude-haiku-4-5"


def test_a_tier_without_a_model_that_can_be_asked_gives_way(world: World) -> None:
    block = purser_of(ask_claude(world.anthropic(), model="auto:simple", extra_body={"top_k": 5}))
    assert (block["model"], block["route"]["tier"]) == ("claude-haiku-4-5", "standard")
    assert "cannot be asked for 'top_k'" in block["route"]["reason"]


def test_what_no_model_can_be_asked_for_is_refused_by_name(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(key={"models": ["gpt-*"]})
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask_claude(world.anthropic(member), model="auto", extra_body={"top_k": 5})
    assert "cannot be asked for 'top_k'" in str(caught.value)
    assert "claude-haiku-4-5: not allowed to this key" in str(caught.value)


def test_a_model_that_is_named_is_called(world: World) -> None:
    answer = ask(world.openai(), "Say hello.", model="gpt-4o", extra_headers={"x-purser-cache": "off"})
    assert answer.headers["x-purser-model"] == "gpt-4o"
    assert "named model" in answer.headers["x-purser-route"]


def test_an_unknown_tier_is_refused(world: World) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(world.openai(), model="auto:genius")
    assert caught.value.code == "model_not_found"


def test_a_long_prompt_is_lifted_to_a_model_that_reads_it(world: World) -> None:
    question = turns(f"Classify the sentiment of this text as positive or negative: {fresh_question()}")
    paper = [{"role": "system", "content": "We met at the river. " * 4000}]
    create = world.openai().chat.completions.with_raw_response.create
    short = create(model="auto", messages=question)
    long = create(model="auto", messages=paper + question)
    assert short.headers["x-purser-model"] == "gpt-4.1-nano"
    assert "long" in long.headers["x-purser-route"]
    assert purser_of(long)["route"]["tier"] == "standard"


def test_a_prompt_beyond_the_window_of_a_tier_goes_where_it_fits(world: World) -> None:
    text = f"Summarize: {fresh_question()} " + "We met at the river. " * 40000
    answer = ask(world.openai(), text, model="auto:complex", max_tokens=50)
    assert answer.headers["x-purser-model"] == "gpt-4.1-nano"  # the only one with such a window
    assert "context window" in answer.headers["x-purser-route"]


def test_budget_pressure_demotes(world: World, make_tenant: Callable[..., Member], books: Books) -> None:
    member = make_tenant(
        policy={
            "pressure": [{"at_percent": 50, "demote": "complex"}, {"at_percent": 90, "only": "simple"}],
            "cache": {"exact": False, "semantic": "off"},
        },
        budgets=[{"scope": "tenant", "unit": "requests", "period": "month", "limit": "10", "mode": "soft"}],
    )
    client = world.openai(member)
    models = [
        ask(client, HARD.format(number), model="auto", max_tokens=10).headers["x-purser-model"]
        for number in range(11)
    ]
    assert models == ["gpt-4o"] * 5 + ["gpt-4o-mini"] * 4 + ["gpt-4.1-nano"] * 2
    last = books.rows(member.id)[-1]
    assert last.model == "gpt-4.1-nano"
    assert "90" in books.log(last.request_id).route_reason


def test_a_raised_budget_presses_the_next_call_no_more(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    from billing.models import Budget

    member = make_tenant(
        policy={
            "pressure": [{"at_percent": 50, "only": "simple"}],
            "cache": {"exact": False, "semantic": "off"},
        },
        budgets=[{"scope": "tenant", "unit": "requests", "period": "month", "limit": "2", "mode": "soft"}],
    )
    client = world.openai(member)

    def model() -> str:
        return ask(client, HARD.format(fresh_question()), model="auto", max_tokens=10).headers[
            "x-purser-model"
        ]

    assert [model() for _ in range(2)] == ["gpt-4o", "gpt-4.1-nano"]
    Budget.objects.filter(tenant_id=member.id).update(limit_amount=1000)
    assert model() == "gpt-4o"


def test_a_projects_budget_presses_its_own_calls_only(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(
        policy={
            "pressure": [{"at_percent": 50, "only": "simple"}],
            "cache": {"exact": False, "semantic": "off"},
        },
        budgets=[{"scope": "project", "unit": "requests", "period": "month", "limit": "2", "mode": "soft"}],
    )
    client = world.openai(member)

    def model_for(project: str) -> str:
        tags = {"x-purser-tags": f"project={project}"}
        answer = ask(client, HARD.format(project), model="auto", max_tokens=10, extra_headers=tags)
        return answer.headers["x-purser-model"]

    assert [model_for("atlas") for _ in range(2)] == ["gpt-4o", "gpt-4.1-nano"]
    assert model_for("other") == "gpt-4o"


def test_a_key_is_routed_within_its_models_only(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(key={"models": ["gpt-4o-mini", "claude-*"]})
    answer = ask(world.openai(member), HARD.format(fresh_question()), model="auto")
    assert answer.headers["x-purser-model"] in ("gpt-4o-mini", "claude-haiku-4-5")


def test_the_receipt_tells_every_step(world: World) -> None:
    answer = ask(world.openai(), model="auto")
    request_id = answer.headers["x-request-id"]
    status, receipt = _receipt(world, request_id)
    assert status == 200
    assert [step["step"] for step in receipt["steps"]] == ["exact_cache", "semantic_cache", "route", "hold"]
    (attempt,) = receipt["attempts"]
    assert {line["meter"] for line in attempt["lines"]} == {"input", "output"}
    assert all(line["unit_price"] for line in attempt["lines"])
    assert receipt["result"]["cost_usd"] == answer.headers["x-purser-cost-usd"]


def test_compression_stands_in_the_receipt(world: World, books: Books) -> None:
    padded = "Please summarise.   \n\n\n\n" + ("The   river    is   long.  \n\n\n" * 40) + fresh_question()
    plain = ask(world.openai(), padded, extra_headers={"x-purser-cache": "off"})
    answer = ask(world.openai(), padded, extra_headers={"x-purser-compress": "on", "x-purser-cache": "off"})
    tokens = purser_of(answer)["tokens"]
    assert tokens["prompt_after_compression"] < tokens["prompt_before_compression"]
    assert purser_of(plain)["tokens"]["prompt_before_compression"] is None
    assert answer.parse().usage.prompt_tokens < plain.parse().usage.prompt_tokens
    row = books.row(answer.headers["x-request-id"])
    assert row.list_cost > row.billed_cost
    assert "compression" in row.saving
    _, receipt = _receipt(world, answer.headers["x-request-id"])
    (step,) = [step for step in receipt["steps"] if step["step"] == "compress"]
    assert step["tokens_after"] < step["tokens_before"]


def test_a_policy_compresses_and_a_header_forbids_it(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy={"compression": {"enabled": True}})
    padded = "Please   summarise.  \n\n\n\n" * 30 + fresh_question()
    off = {"x-purser-compress": "off"}
    assert purser_of(ask(world.openai(member), padded))["tokens"]["prompt_before_compression"]
    refused = ask(world.openai(member), padded, extra_headers={**off, "x-purser-cache": "off"})
    assert purser_of(refused)["tokens"]["prompt_before_compression"] is None


def _receipt(world: World, request_id: str):
    from tests.books import eventually

    return eventually(lambda: world.get(f"/v1/requests/{request_id}"), until=lambda answer: answer[0] == 200)
