"""Chooses the model of a request: rules first, then the score, then what the request requires.

Invariant: pure and under a millisecond; a request that names a model gets that model; a model without a
price, outside the key's allow-list or too small for the request is never chosen; every choice carries its
reasons.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from billing.errors import ModelUnpriced
from config.values import value_type
from llm.catalog.catalog import TIERS, Catalog
from llm.errors import ContextLengthExceeded, InvalidRequest, ModelNotFound, ModelSwitchedOff
from llm.output.limits import limit_for
from llm.providers.target import Target
from llm.routing.decision import Considered, Route, Step
from llm.routing.facts import RouteFacts
from llm.routing.pressure import press
from llm.routing.signals import Score, prior
from llm.routing.task_patterns import task_of
from tenants.errors import ClientError, ModelNotAllowed
from tenants.policy import Policy

SIMPLE_BELOW: Final = -0.35  # score; about the easier third of what support desks are asked
COMPLEX_FROM: Final = 0.15  # score; about the harder quarter of the public questions
TOO_LONG: Final = "context window"
LONG_INPUT_TOKENS: Final = 16_000  # beyond, the simple tier loses what is in the middle

ScoreProvider = Callable[[RouteFacts], Score]


def score_by_prior(facts: RouteFacts) -> Score:
    """The score every tenant starts with; a learned router takes its place by being passed as `score`."""
    return prior(facts.ask)


@value_type
class Market:
    """The models on offer to one request, and the five questions routing asks about each.

    `count(model)` is the request's input tokens, leaning upwards, `count_at_least(model)` what they are beyond doubt
    (None: the same); `cost_of(target, input_tokens, output_tokens)` its price in
    USD (raises ModelUnpriced), `is_allowed(model)` the key's allow-list; `why_untranslatable(target)` names what in
    the request has no counterpart in the model's protocol, empty if all has.
    """

    catalog: Catalog
    count: Callable[[str], int]
    cost_of: Callable[[Target, int, int], Decimal]
    is_allowed: Callable[[str], bool]
    why_untranslatable: Callable[[Target], str] = lambda target: ""
    count_at_least: Callable[[str], int] | None = None

    def least(self, model: str) -> int:
        """The request's tokens as far as they are beyond doubt: all that a refusal may rest on."""
        return self.count_at_least(model) if self.count_at_least else self.count(model)


def route(
    facts: RouteFacts,
    *,
    policy: Policy,
    market: Market,
    used_percent: float | None = None,
    score: ScoreProvider = score_by_prior,
) -> Route:
    """Choose a model, or raise ModelNotFound, ModelNotAllowed, ModelUnpriced, ContextLengthExceeded,
    InvalidRequest.

    `used_percent` is the used share of the request's tightest budget, None where it has none.
    """
    if facts.is_automatic:
        return _automatic(facts, policy=policy, market=market, used_percent=used_percent, score=score)
    return _named(facts, policy=policy, market=market, used_percent=used_percent)


def expected_output(target: Target, *, facts: RouteFacts, policy: Policy, input_tokens: int) -> int:
    """How long an answer is taken to be when models are compared: as was asked for, else the tier's default bounded by the
    model and its window; 0 for a model that writes nothing."""
    if target.model_kind != "chat":
        return 0
    if facts.max_output_tokens is not None:
        return min(facts.max_output_tokens, target.output_bound)
    default = policy.default_max_tokens.for_tier(target.tier)
    room = target.context_window - input_tokens
    limit = min(default, target.output_bound)
    return min(limit, room) if room > 0 else limit


def _most(target: Target, *, facts: RouteFacts, policy: Policy, input_tokens: int) -> int:
    return limit_for(target, facts=facts, policy=policy, input_tokens=input_tokens).most


def _named(facts: RouteFacts, *, policy: Policy, market: Market, used_percent: float | None) -> Route:
    answering = market.catalog.answering(facts.model_asked)
    if not market.is_allowed(facts.model_asked):
        raise ModelNotAllowed(f"This key may not use the model '{facts.model_asked}'.", param="model")
    if facts.model_asked not in market.catalog.targets:
        return _standing_in(facts, answering, policy=policy, market=market, used_percent=used_percent)
    (target,) = answering
    input_tokens = market.count(target.model)
    expected = expected_output(target, facts=facts, policy=policy, input_tokens=input_tokens)
    cost = market.cost_of(target, input_tokens, expected * facts.answers)
    steps = [Step("named model", target.tier, "the request names its model")]
    if target.tier:
        pressed = press(target.tier, rules=policy.pressure, used_percent=used_percent, is_named=True)
        if pressed.why:
            steps.append(Step("budget pressure", pressed.tier, pressed.why))
            return _choose(
                facts, pressed.tier, policy=policy, market=market, steps=steps, undisturbed=target.tier
            )
    if target.model_kind == "chat" and input_tokens > target.context_window:
        _require_room(target, market)
    understudies = [
        _consider(facts, one, policy=policy, market=market) for one in market.catalog.fallbacks_of(target)
    ]
    return Route(
        tier=target.tier,
        target=target,
        reason="named model",
        max_tokens=_most(target, facts=facts, policy=policy, input_tokens=input_tokens),
        fallbacks=tuple(one.target for one in understudies if not one.rejected),
        considered=(Considered(target, cost), *understudies),
        steps=tuple(steps),
    )


def _require_room(target: Target, market: Market) -> None:
    """Refuse what is too long beyond doubt; about the rest the provider decides, whose own refusal costs nothing."""
    if (least := market.least(target.model)) > target.context_window:
        raise ContextLengthExceeded(
            tokens=max(least, market.count(target.model)),
            most_tokens=target.context_window,
            model=target.model,
        )


def _standing_in(
    facts: RouteFacts,
    stand_ins: Iterable[Target],
    *,
    policy: Policy,
    market: Market,
    used_percent: float | None,
) -> Route:
    """The fallbacks of a named model that is switched off, in their order. Raises ModelSwitchedOff if none can serve the call."""
    considered = [_consider(facts, one, policy=policy, market=market) for one in stand_ins]
    able = [one.target for one in considered if not one.rejected]
    if not able:
        why_not = "; ".join(f"{one.target.model}: {one.rejected}" for one in considered)
        raise ModelSwitchedOff(facts.model_asked, why_not)
    target, *others = able
    reason = f"{facts.model_asked} is switched off: its fallback"
    steps = [Step("switched off", target.tier, reason)]
    if target.tier:
        pressed = press(target.tier, rules=policy.pressure, used_percent=used_percent, is_named=True)
        if pressed.why:
            steps.append(Step("budget pressure", pressed.tier, pressed.why))
            return _choose(
                facts, pressed.tier, policy=policy, market=market, steps=steps, undisturbed=target.tier
            )
    return Route(
        tier=target.tier,
        target=target,
        reason=reason,
        max_tokens=_most(target, facts=facts, policy=policy, input_tokens=market.count(target.model)),
        fallbacks=tuple(others),
        considered=tuple(considered),
        steps=tuple(steps),
    )


def _automatic(
    facts: RouteFacts, *, policy: Policy, market: Market, used_percent: float | None, score: ScoreProvider
) -> Route:
    if facts.declared_tier and facts.declared_tier not in TIERS:
        raise ModelNotFound(f"'{facts.model_asked}' is not a tier: {', '.join(TIERS)}.", param="model")
    judged: Score | None = None
    if facts.declared_tier:
        steps = [Step("declared tier", facts.declared_tier, "declared tier")]
    elif not policy.routing.enabled:
        steps = [Step("default tier", policy.routing.default_tier, "routing is off: default tier")]
    else:
        judged = score(facts)
        steps = [_judge(facts, judged, default_tier=policy.routing.default_tier)]
        if steps[0].tier == TIERS[0]:
            simple = market.catalog.in_tier(TIERS[0])
            longest = max((market.count(target.model) for target in simple), default=0)
            if longest > LONG_INPUT_TOKENS:
                steps.append(Step("long context", TIERS[1], f"long input: {longest} tokens"))
    tier = steps[-1].tier
    pressed = press(tier, rules=policy.pressure, used_percent=used_percent)
    if pressed.why:
        steps.append(Step("budget pressure", pressed.tier, pressed.why))
    undisturbed = tier if pressed.why else ""
    return _choose(
        facts, pressed.tier, policy=policy, market=market, steps=steps, undisturbed=undisturbed, score=judged
    )


def _judge(facts: RouteFacts, score: Score, *, default_tier: str) -> Step:
    """The tier of the work itself: a task pattern where one is sure, else the score."""
    task = task_of(facts.ask)
    if task.tier == "complex" or (task.tier == "simple" and score.value < COMPLEX_FROM):
        return Step("task pattern", task.tier, f"task: {task.name}")
    if score.value < SIMPLE_BELOW:
        return Step("score", "simple", f"score {score.value:.2f}, below {SIMPLE_BELOW}: light work")
    if score.value >= COMPLEX_FROM:
        return Step("score", "complex", f"score {score.value:.2f}, from {COMPLEX_FROM}: hard work")
    return Step("score", default_tier, f"score {score.value:.2f}, in the middle: default tier")


def _choose(
    facts: RouteFacts,
    tier: str,
    *,
    policy: Policy,
    market: Market,
    steps: list[Step],
    undisturbed: str,
    score: Score | None = None,
) -> Route:
    """The cheapest capable model of the tier; where it has none, of the next tier up, and only then of one
    below."""
    models = [target for target in market.catalog if target.tier and target.model_kind == "chat"]
    facts = _within_the_largest(facts, models)
    considered = [_consider(facts, target, policy=policy, market=market) for target in models]
    if all(one.rejected for one in considered):
        considered = [_if_it_may_fit(one, market=market) for one in considered]
    by_tier = {name: _cheapest_first(one for one in considered if one.target.tier == name) for name in TIERS}
    position = TIERS.index(tier)
    order = (*TIERS[position:], *reversed(TIERS[:position]))
    found = next((name for name in order if by_tier[name]), "")
    if not found:
        raise _no_model(considered, market)
    if found != tier:
        steps.append(
            Step("hard constraint", found, f"no {tier} model can serve it ({_why_not(considered, tier)})")
        )
    chosen = by_tier[found][0].target
    # while a budget presses, a provider's failure must not lift the work above the tier it was lowered to
    above = () if undisturbed else TIERS[TIERS.index(found) + 1 :]
    understudies = [*by_tier[found][1:], *(one for name in above for one in by_tier[name])]
    return Route(
        tier=found,
        target=chosen,
        reason=steps[-1].detail,
        max_tokens=_most(chosen, facts=facts, policy=policy, input_tokens=market.count(chosen.model)),
        fallbacks=tuple(one.target for one in understudies),
        considered=tuple(considered),
        steps=tuple(steps),
        score=score,
        tier_without_pressure=undisturbed,
    )


def _within_the_largest(facts: RouteFacts, models: list[Target]) -> RouteFacts:
    """Who leaves the choice of the model to us cannot know its maximum: no more is asked than some model can write."""
    if facts.max_output_tokens is None:
        return facts
    largest = max((target.output_bound for target in models), default=0)
    if facts.max_output_tokens <= largest or not largest:
        return facts
    return replace(facts, max_output_tokens=largest)


def _cheapest_first(considered: Iterable[Considered]) -> list[Considered]:
    eligible = [one for one in considered if not one.rejected]
    return sorted(eligible, key=lambda one: (one.cost_usd, one.target.model))


def _consider(facts: RouteFacts, target: Target, *, policy: Policy, market: Market) -> Considered:
    """Whether a model could serve the request, and what it would cost there."""
    rejected = _hard_constraint(facts, target, policy=policy, market=market)
    if rejected:
        return Considered(target, None, rejected)
    input_tokens = market.count(target.model)
    expected = expected_output(target, facts=facts, policy=policy, input_tokens=input_tokens) * facts.answers
    try:
        return Considered(target, market.cost_of(target, input_tokens, expected))
    except ModelUnpriced:
        return Considered(target, None, "unpriced")


def _hard_constraint(facts: RouteFacts, target: Target, *, policy: Policy, market: Market) -> str:
    """Why the model cannot serve the request; empty if it can."""
    if not market.is_allowed(target.model):
        return "not allowed to this key"
    if untranslatable := market.why_untranslatable(target):
        return f"cannot be asked for '{untranslatable}'"
    if missing := facts.needs - target.capabilities:
        return f"lacks {', '.join(sorted(missing))}"
    output = facts.max_output_tokens
    if output is not None and output > target.output_bound:
        return f"answers with at most {target.output_bound} tokens"
    expected = output or min(policy.default_max_tokens.for_tier(target.tier), target.output_bound)
    if market.count(target.model) + expected > target.context_window:
        return f"{TOO_LONG} of {target.context_window} tokens"
    return ""


def _if_it_may_fit(one: Considered, *, market: Market) -> Considered:
    """A model whose window alone seemed too small takes the request after all where that is not beyond doubt."""
    model = one.target.model
    if not one.rejected.startswith(TOO_LONG) or market.least(model) > one.target.context_window:
        return one
    try:
        return Considered(one.target, market.cost_of(one.target, market.count(model), 0))
    except ModelUnpriced:
        return Considered(one.target, None, "unpriced")


def _why_not(considered: Iterable[Considered], tier: str) -> str:
    reasons = sorted({one.rejected for one in considered if one.target.tier == tier})
    return "; ".join(reasons) or "none is offered"


def _no_model(considered: list[Considered], market: Market) -> ClientError:
    """The error that says why no model is eligible."""
    reasons = {one.rejected for one in considered}
    if not reasons:
        return ModelNotFound("No model is offered for automatic routing here.", param="model")
    if reasons == {"unpriced"}:
        return ModelUnpriced("No model that may serve this request has a price.", param="model")
    if reasons == {"not allowed to this key"}:
        return ModelNotAllowed(
            "This key may not use any model that automatic routing could choose.", param="model"
        )
    if too_small := [one.target for one in considered if one.rejected.startswith(TOO_LONG)]:
        largest = max(too_small, key=lambda target: target.context_window)
        return ContextLengthExceeded(
            tokens=max(market.least(largest.model), market.count(largest.model)),
            most_tokens=largest.context_window,
            model=largest.model,
        )
    detail = "; ".join(f"{one.target.model}: {one.rejected}" for one in considered)
    return InvalidRequest(f"No model can serve this request ({detail}).", param="model")
