"""Which model a request gets, and what the decision says about itself."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from billing.errors import ModelUnpriced
from llm.catalog.catalog import Catalog
from llm.errors import ContextLengthExceeded, InvalidRequest, ModelNotFound
from llm.providers.kinds import KINDS
from llm.providers.target import Target
from llm.routing.facts import read_route_facts
from llm.routing.rules import Market, route
from llm.routing.signals import Score
from tenants.errors import ModelNotAllowed
from tenants.policy import parse_policy

LOOK_UP = "What is the capital of France?"
MIDDLE = "Explain the difference between TCP and UDP."
HARD = (
    "Compare token buckets and sliding windows for a rate limiter that must never exceed 1,000 requests per "
    "minute across 3 regions. Evaluate the failure modes step by step, calculate the error each allows if the "
    "clocks differ by 50 ms, and then recommend one, considering cost and complexity."
)
USD_PER_MILLION = {"nano": "0.1", "tiny": "0.2", "mini": "0.15", "haiku": "1", "large": "2.5", "sonnet": "3"}


def target(model: str, tier: str, **facts: Any) -> Target:
    return Target(
        **{
            "model": model,
            "provider": "somewhere",
            "kind": KINDS["openai"],
            "base_url": "http://127.0.0.1",
            "api_key": "",
            "upstream": model,
            "tier": tier,
            "context_window": 100_000,
            "max_output_tokens": 16_000,
            "capabilities": frozenset({"tools", "vision", "json_schema"}),
            **facts,
        }
    )


TARGETS = (
    target("nano", "simple"),
    target("tiny", "simple"),
    target("haiku", "standard", kind=KINDS["anthropic"]),
    target("mini", "standard"),
    target("sonnet", "complex", kind=KINDS["anthropic"]),
    target("large", "complex"),
)


def market(
    *targets: Target,
    tokens: int = 50,
    is_allowed: Callable[[str], bool] = lambda model: True,
    why_untranslatable: Callable[[Target], str] = lambda target: "",
    at_least: int | None = None,
) -> Market:
    def cost_of(one: Target, input_tokens: int, output_tokens: int) -> Decimal:
        if one.model not in USD_PER_MILLION:
            raise ModelUnpriced(f"'{one.model}' has no price.", param="model")
        return Decimal(USD_PER_MILLION[one.model]) * (input_tokens + 4 * output_tokens) / 1_000_000

    return Market(
        catalog=Catalog(MappingProxyType({one.model: one for one in targets or TARGETS})),
        count=lambda model: tokens,
        cost_of=cost_of,
        is_allowed=is_allowed,
        why_untranslatable=why_untranslatable,
        count_at_least=None if at_least is None else lambda model: at_least,
    )


def decide(ask: str = LOOK_UP, *, model: str = "auto", offer: Market | None = None, **options: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": ask}], **options.pop("body", {})}
    facts = read_route_facts(body, declared_tier=options.pop("declared_tier", ""))
    policy = parse_policy(options.pop("policy", {}))
    return route(facts, policy=policy, market=offer or market(), **options)


def test_it_works():
    decision = decide(LOOK_UP)
    assert (decision.tier, decision.model, decision.reason) == ("simple", "nano", "task: look-up")
    assert decision.max_tokens == 512
    assert [one.model for one in decision.fallbacks] == ["tiny", "mini", "haiku", "large", "sonnet"]


@pytest.mark.parametrize(
    ("ask", "tier"),
    [
        ("Hi there!", "simple"),
        ("Translate 'good morning' to German.", "simple"),
        ("Extract all e-mail addresses: a@b.com, c@d.org", "simple"),
        (MIDDLE, "standard"),
        ("Write a Python function that reverses a linked list.", "standard"),
        ("Prove that the square root of 2 is irrational.", "complex"),
        ("Design the architecture of a payment system.", "complex"),
        (HARD, "complex"),
    ],
)
def test_the_work_decides_the_tier(ask, tier):
    assert decide(ask).tier == tier


def test_the_middle_goes_to_the_tenants_default_tier():
    assert decide(MIDDLE, policy={"routing": {"default_tier": "complex"}}).tier == "complex"


def test_the_declared_tier_wins_over_the_text():
    assert decide(LOOK_UP, declared_tier="complex").tier == "complex"
    assert decide(HARD, model="auto:simple", declared_tier="complex").tier == "simple"


def test_a_tier_nobody_knows_is_refused():
    with pytest.raises(ModelNotFound):
        decide(model="auto:best")


def test_routing_switched_off_means_the_default_tier():
    decision = decide(HARD, policy={"routing": {"enabled": False}})
    assert (decision.tier, decision.reason) == ("standard", "routing is off: default tier")


def test_a_named_model_is_not_changed():
    decision = decide(LOOK_UP, model="large", used_percent=99.0)
    assert (decision.model, decision.tier, decision.reason) == ("large", "complex", "named model")
    assert decision.fallbacks == ()


def test_a_named_model_falls_back_only_to_the_models_its_operator_declared():
    offer = market(
        *TARGETS, target("large", "complex", fallbacks=("sonnet", "gone", "unpriced")), target("unpriced", "")
    )
    assert [one.model for one in decide(model="large", offer=offer).fallbacks] == ["sonnet"]


def test_a_named_model_that_is_unknown_unpriced_forbidden_or_too_small_is_refused():
    with pytest.raises(ModelNotFound):
        decide(model="gone")
    with pytest.raises(ModelUnpriced):
        decide(model="unpriced", offer=market(target("unpriced", "simple")))
    with pytest.raises(ModelNotAllowed):
        decide(model="large", offer=market(is_allowed=lambda model: model != "large"))
    with pytest.raises(ContextLengthExceeded):
        decide(model="large", offer=market(tokens=100_001))


@pytest.mark.parametrize(
    ("used_percent", "tier"),
    [(None, "complex"), (89.9, "complex"), (90.0, "standard"), (95.0, "simple"), (140, "simple")],
)
def test_budget_pressure_lowers_hard_work(used_percent, tier):
    decision = decide(HARD, used_percent=used_percent)
    assert decision.tier == tier
    assert decision.tier_without_pressure == ("complex" if tier != "complex" else "")


def test_budget_pressure_lowers_a_declared_tier_too():
    assert decide(model="auto:complex", used_percent=92.0).tier == "standard"


def test_pressure_says_why_and_keeps_fallbacks_low():
    decision = decide(HARD, used_percent=92.0)
    assert decision.reason == "budget 92% used, past 90%: complex work goes to standard"
    assert [one.model for one in decision.fallbacks] == ["haiku"]


def test_light_work_is_not_touched_by_a_rule_for_hard_work():
    assert decide(MIDDLE, used_percent=92.0).tier == "standard"


def test_the_cheapest_capable_model_of_the_tier_is_chosen():
    blind = [target(one.model, one.tier, capabilities=frozenset({"tools"})) for one in TARGETS[:1]]
    image = [
        {"type": "text", "text": LOOK_UP},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    decision = decide(image, offer=market(*blind, *TARGETS[1:]))  # type: ignore[arg-type]
    assert decision.model == "tiny"
    assert decision.considered[0].rejected == "lacks vision"


@pytest.mark.parametrize(
    ("body", "need"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
            "json_schema",
        ),
    ],
)
def test_a_tier_that_cannot_serve_the_request_passes_it_up(body, need):
    unable = [
        target(one.model, one.tier, capabilities=frozenset()) for one in TARGETS if one.tier == "simple"
    ]
    decision = decide(LOOK_UP, offer=market(*unable, *TARGETS[2:]), body=body)
    assert (decision.tier, decision.model) == ("standard", "mini")
    assert decision.reason == f"no simple model can serve it (lacks {need})"


def test_a_request_longer_than_the_tiers_windows_goes_to_the_long_context_model():
    offer = market(*TARGETS, target("haiku", "standard", context_window=1_000_000), tokens=200_000)
    decision = decide(LOOK_UP, offer=offer)
    assert (decision.tier, decision.model) == ("standard", "haiku")


def test_long_input_leaves_the_simple_tier():
    decision = decide(LOOK_UP, offer=market(tokens=20_000))
    assert (decision.tier, decision.reason) == ("standard", "long input: 20000 tokens")


def test_an_output_no_model_of_the_tier_can_write_goes_up():
    small = [target(one.model, one.tier, max_output_tokens=1_000) for one in TARGETS if one.tier == "simple"]
    decision = decide(LOOK_UP, offer=market(*small, *TARGETS[2:]), body={"max_tokens": 5_000})
    assert decision.tier == "standard"
    assert decision.max_tokens == 5_000


def test_a_model_the_key_may_not_use_is_passed_over():
    assert decide(LOOK_UP, offer=market(is_allowed=lambda model: model == "sonnet")).model == "sonnet"


def test_a_model_without_a_price_is_never_chosen():
    offer = market(target("unpriced", "simple"), TARGETS[3])
    decision = decide(LOOK_UP, offer=offer)
    assert decision.model == "mini"
    assert decision.considered[0].rejected == "unpriced"


def test_a_model_that_cannot_be_asked_in_its_protocol_is_not_chosen():
    offer = market(why_untranslatable=lambda target: "n" if target.kind.name == "openai" else "")
    decision = decide(LOOK_UP, offer=offer)
    assert decision.model == "haiku"
    assert decision.considered[0].rejected == "cannot be asked for 'n'"


@pytest.mark.parametrize(
    ("offer", "outcome"),
    [
        (market(target("x", "")), ModelNotFound),
        (market(target("unpriced", "simple")), ModelUnpriced),
        (market(is_allowed=lambda model: False), ModelNotAllowed),
        (market(tokens=200_000), ContextLengthExceeded),
        (market(target("nano", "simple"), why_untranslatable=lambda target: "n"), InvalidRequest),
    ],
)
def test_a_request_no_model_can_serve_is_told_why(offer, outcome):
    with pytest.raises(outcome):
        decide(LOOK_UP, offer=offer)


def test_what_only_seems_too_long_is_the_providers_to_refuse():
    offer = market(tokens=120_000, at_least=100_000)
    named = decide(model="large", offer=offer)
    assert (named.model, named.max_tokens) == ("large", 16_000)
    chosen = decide(LOOK_UP, offer=offer)
    assert (chosen.tier, chosen.model) == ("standard", "mini")
    with pytest.raises(ContextLengthExceeded) as refusal:
        decide(LOOK_UP, offer=market(tokens=120_000, at_least=100_001))
    assert refusal.value.message_for("anthropic") == "prompt is too long: 120000 tokens > 100000 maximum"


def test_a_learned_score_takes_the_priors_place():
    decision = decide(MIDDLE, score=lambda facts: Score(value=2.0, source="learned"))
    assert decision.tier == "complex"
    assert decision.to_receipt()["score"] == {"value": 2.0, "source": "learned", "signals": []}


def test_the_decision_explains_itself_without_a_word_of_the_prompt():
    secret = "the zebra's name is Ferdinand and it weighs 300 kg"
    receipt = decide(f"Explain why {secret}.", used_percent=50.0).to_receipt()
    assert {one["model"] for one in receipt["considered"]} == set(USD_PER_MILLION)
    assert len(receipt["score"]["signals"]) == 13
    assert receipt["score"]["value"] == pytest.approx(
        sum(signal["contribution"] for signal in receipt["score"]["signals"]), abs=0.01
    )
    assert "zebra" not in str(receipt)
    assert "Ferdinand" not in str(receipt)


def test_a_default_never_exceeds_the_model_or_its_window():
    offer = market(
        target("large", "complex", max_output_tokens=300),
        target("nano", "complex", context_window=1_000),
        tokens=900,
    )
    assert decide(model="large", offer=offer).max_tokens == 300
    assert decide(model="nano", offer=offer).max_tokens == 100


def test_a_decision_asks_for_few_counts_of_a_model():
    """Counting a long prompt is what a decision spends its time on."""
    counted: list[str] = []

    def count(model: str) -> int:
        counted.append(model)
        return 900

    decide(HARD * 20, offer=replace(market(), count=count))
    assert set(counted) <= set(USD_PER_MILLION)
    assert max(map(counted.count, counted)) <= 4


def test_pressure_reaches_a_named_model_only_where_the_rule_says_so():
    rules = [{"at_percent": 90, "demote": "complex", "applies_to_named": True}]
    decision = decide(LOOK_UP, model="large", used_percent=92.0, policy={"pressure": rules})
    assert (decision.model, decision.tier) == ("mini", "standard")
    assert decision.tier_without_pressure == "complex"
