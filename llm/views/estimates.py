"""`POST /v1/estimate` and `/v1/messages/count_tokens`: what calls would cost, without making them.

Invariant: calls no provider, holds nothing, writes nothing.
"""

from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse

from billing.errors import ModelUnpriced
from billing.estimates.costs import expected_cost, hold_for
from llm import long_work
from llm.calls.answers import usd
from llm.errors import InvalidRequest
from llm.output.limits import OutputLimit, limit_for
from llm.providers.target import Target
from llm.routing.facts import AUTO, read_route_facts
from llm.routing.rules import expected_output
from llm.tokens.estimating import estimate_input
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.documented import OF_A_LOOK_UP, operation
from llm.wire import Body, WireFormat, format_for
from tenants.rls import tenant_connection

MAX_CALLS = 1_000
MAX_SAMPLE_BYTES = 2 * 1024 * 1024  # of all sample calls together: each is counted for each model
MAX_VOLUME = 10**12

# what answers were long in the last month, as a share of the limit they were asked with
OUTPUT_SHARE = """
SELECT model, sum(output_tokens)::float / nullif(count(*), 0)
FROM billing_usagerecord
WHERE tenant_id = %s AND occurred_at > now() - interval '30 days' AND usage_source = 'provider' AND output_tokens > 0
GROUP BY model
"""
UNKNOWN_OUTPUT_SHARE = 0.25


class Estimate(AsyncAPIView):
    """Tokens, upper bound and expected cost per model of one call, or of sample calls at a volume."""

    is_limited = True

    @operation(
        "estimate",
        "What calls would cost, for each model; calls no provider",
        tag="Figures",
        takes=schemas.EstimateSample,
        answers=schemas.EstimateAnswer,
        example={
            "calls": [{"model": "auto", "messages": [{"role": "user", "content": "Summarise this ticket."}]}],
            "volume": 100000,
        },
        errors=(*OF_A_LOOK_UP, 402, 413, 429),
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        calls, volume = _read(self.read_json(request, allow_list=True), size=len(request.body))
        wires = [_wire_of(body) for body in calls]
        means = await self._mean_outputs()
        targets = self._targets(calls)
        estimates = await long_work.done(
            lambda: [
                estimate
                for target in targets
                if (estimate := self._estimate(target, calls, wires, volume, means)) is not None
            ],
            size=len(request.body) * len(targets),
            tenant_id=self.principal.tenant_id,
        )
        if not estimates:
            raise ModelUnpriced("None of the models of this estimate has a price.", param="model")
        estimates.sort(key=lambda estimate: Decimal(estimate["expected_cost_usd"]))
        return json_response(
            {"object": "estimate", "calls": len(calls), "volume": volume, "models": estimates}
        )

    def _targets(self, calls: list[Body]) -> list[Target]:
        """The models that are named, and all the key may use where a call leaves the choice to us."""
        named = {str(body.get("model") or AUTO) for body in calls}
        if any(name.partition(":")[0] == AUTO for name in named):
            return [
                target
                for target in self.snapshot.catalog
                if target.tier and self.principal.may_use(target.model)
            ]
        for name in named:
            self.principal.require_model(name)
        return [self.snapshot.catalog.find(name) for name in sorted(named)]

    def _estimate(
        self, target: Target, calls: list[Body], wires: list[WireFormat], volume: int, means: dict[str, float]
    ) -> dict[str, Any] | None:
        try:
            rates = self.snapshot.prices.rates(target.provider, target.model, at=self.received_at)
        except ModelUnpriced:
            return None
        basis = "a quarter of max_tokens, or of the tier's default"
        limits: list[OutputLimit] = []
        input_tokens = most_input_tokens = output_tokens = 0
        bound = expected = Decimal(0)
        for body, wire in zip(calls, wires, strict=True):
            facts = read_route_facts({"model": AUTO, **body})
            estimate = estimate_input(
                wire, body, wire.facts({"model": AUTO, **body}), target=target, snapshot=self.snapshot
            )
            counted, most = estimate.counted_tokens, estimate.most_tokens
            policy, likely_input = self.snapshot.policy, estimate.likely_tokens
            limit = limit_for(target, facts=facts, policy=policy, input_tokens=likely_input, api=wire.api)
            limits.append(limit)
            usual = self.snapshot.estimates.usual_output_tokens(
                provider=target.provider, model=target.model, shape=estimate.shape
            )
            unknown, basis = (
                (usual, "half of the model's answers")
                if usual
                else (
                    UNKNOWN_OUTPUT_SHARE
                    * expected_output(target, facts=facts, policy=policy, input_tokens=likely_input),
                    basis,
                )
            )
            likely = min(limit.most, round(means.get(target.model, unknown)))
            input_tokens += counted
            most_input_tokens += most
            output_tokens += likely * facts.answers
            bound += hold_for(rates, input_tokens=most, max_output_tokens=limit.most, n=facts.answers)
            expected += expected_cost(rates, input_tokens=counted, output_tokens=likely * facts.answers)
        scale = Decimal(volume) / len(calls)
        return {
            "model": target.model,
            "provider": target.provider,
            "tier": target.tier or None,
            "input_tokens": input_tokens,
            "upper_bound_input_tokens": most_input_tokens,
            "max_output_tokens": max(limit.most for limit in limits),
            "output_limit_set_by": sorted({limit.set_by for limit in limits}),
            "expected_output_tokens": output_tokens,
            "output_basis": "your last 30 days" if target.model in means else basis,
            "upper_bound_usd": usd(bound),
            "expected_cost_usd": usd(expected),
            "upper_bound_usd_at_volume": usd(bound * scale),
            "expected_cost_usd_at_volume": usd(expected * scale),
        }

    async def _mean_outputs(self) -> dict[str, float]:
        async with tenant_connection(self.principal.tenant_id) as connection:
            cursor = await connection.execute(OUTPUT_SHARE, (self.principal.tenant_id,))
            return {model: mean for model, mean in await cursor.fetchall() if mean}


class _Count(AsyncAPIView):
    """The tokens of a prompt as its model's provider would count them: our own count, which leans upwards."""

    api = ""
    is_limited = True

    async def count(self, request: HttpRequest) -> int:
        body = self.read_json(request)
        wire = format_for(self.api)
        facts = wire.facts(body)
        target = self.snapshot.catalog.find(facts.model)
        self.principal.require_model(target.model)
        estimate = await long_work.done(
            lambda: estimate_input(wire, body, facts, target=target, snapshot=self.snapshot),
            size=len(request.body),
            tenant_id=self.principal.tenant_id,
        )
        return estimate.counted_tokens


class CountTokens(_Count):
    """`POST /v1/messages/count_tokens`, as Anthropic's."""

    api = "anthropic.messages"

    @operation(
        "countTokens",
        "The tokens of a message, counted here",
        tag="Figures",
        takes=schemas.CountTokensRequest,
        answers=schemas.CountTokensAnswer,
        example={
            "model": "claude-haiku-4-5",
            "messages": [{"role": "user", "content": "How do I activate my new card?"}],
        },
        errors=(*OF_A_LOOK_UP, 413, 429),
        is_anthropic=True,
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        return json_response({"input_tokens": await self.count(request)})


class CountInputTokens(_Count):
    """`POST /v1/responses/input_tokens`, as OpenAI's."""

    api = "openai.responses"

    @operation(
        "countInputTokens",
        "The tokens of a response's input, counted here",
        tag="Figures",
        takes=schemas.ResponsesRequest,
        answers=schemas.CountInputTokensAnswer,
        example={"model": "gpt-4o-mini", "input": "How do I activate my new card?"},
        errors=(*OF_A_LOOK_UP, 413, 429),
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        return json_response({"object": "response.input_tokens", "input_tokens": await self.count(request)})


def _read(body: Any, *, size: int) -> tuple[list[Body], int]:
    """One call, a list of calls, or `{"calls": [...], "volume": n}`."""
    if isinstance(body, list):
        body = {"calls": body}
    if "calls" not in body:
        return [body], 1
    calls, volume = body["calls"], body.get("volume", 1)
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        raise InvalidRequest("Field 'calls' must be a list of chat bodies, and not empty.", param="calls")
    if len(calls) > MAX_CALLS:
        raise InvalidRequest(f"At most {MAX_CALLS} sample calls are taken.", param="calls")
    if size > MAX_SAMPLE_BYTES:
        raise InvalidRequest(f"The sample calls may have {MAX_SAMPLE_BYTES:,} bytes in all.", param="calls")
    if not isinstance(volume, int) or isinstance(volume, bool) or not 1 <= volume <= MAX_VOLUME:
        raise InvalidRequest("Field 'volume' must be a positive number of calls.", param="volume")
    return calls, volume


def _wire_of(body: Body) -> WireFormat:
    """A body with `input` speaks responses or embeddings, one with `messages` chat."""
    wire = format_for("openai.responses" if "input" in body else "openai.chat")
    wire.facts({"model": AUTO, **body})
    return wire
