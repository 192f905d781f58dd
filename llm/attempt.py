"""One planned call to one target: what goes out, and the most that it can cost.

Invariant: pure. The hold is an upper bound: input counted upwards at the dearest rate that may apply, `n` answers as
long as `max_tokens` lets them be; a request without a limit gets one.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import uuid_utils

from billing.balances import Balance
from billing.estimates import affordable_output_tokens, hold_for
from billing.holds import NewAttempt
from billing.prices import Rates
from llm.call import Call
from llm.catalog import Target
from llm.errors import ContextLengthExceeded
from llm.estimating import InputEstimate, estimate_exchange, least_input, longest_input
from llm.processing import processing_of
from llm.routing.facts import read_route_facts
from llm.routing.rules import output_limit
from llm.token_counts import count_input
from llm.wire import Body, Exchange, Untranslatable, prepare
from llm.wire.cache_marks import with_cache_marks

LEAST_OUTPUT_TOKENS = 64  # a shorter answer than this is of no use: refuse instead


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that is about to be made."""

    id: UUID
    number: int
    target: Target
    exchange: Exchange
    rates: Rates
    estimate: InputEstimate
    max_output_tokens: int
    is_limit_ours: bool
    hold_usd: Decimal
    is_marked_by_us: bool = False  # for the provider's prompt cache

    @property
    def input_tokens(self) -> int:
        """The most input tokens it may have."""
        return self.estimate.most_tokens + self.estimate.kept_tokens

    @property
    def hold_tokens(self) -> int:
        return self.input_tokens + self.max_output_tokens

    def reservation(self, call: Call) -> NewAttempt:
        """What the ledger is asked to admit."""
        return NewAttempt(
            id=self.id,
            tenant_id=call.principal.tenant_id,
            request_id=call.request_id,
            attempt_no=self.number,
            key_id=call.principal.key_id,
            user=call.user,
            feature=call.headers.feature,
            provider=self.target.provider,
            model=self.target.model,
            processing=self.rates.processing,
            occurred_at=call.received_at,
            hold_usd=self.hold_usd,
            hold_tokens=self.hold_tokens,
            windows=call.windows(model=self.target.model, provider=self.target.provider),
            dims=call.ledger_dims() | self.estimate.to_dims(),
        )

    def within(self, call: Call, balance: Balance) -> "Attempt | None":
        """The same call with as much output as a budget still affords; None if the client set the limit or little is left."""
        if not self.is_limit_ours:
            return None
        limit = affordable_output_tokens(
            self.rates, balance=balance, input_tokens=self.input_tokens, n=call.facts.n
        )
        if limit < LEAST_OUTPUT_TOKENS or limit >= self.max_output_tokens // max(1, call.facts.n):
            return None
        return replace(
            self,
            exchange=self.exchange.limited(limit),
            max_output_tokens=limit * call.facts.n,
            hold_usd=hold_for(
                self.rates, input_tokens=self.input_tokens, max_output_tokens=limit, n=call.facts.n
            ),
        )

    def to_receipt(self) -> dict[str, Any]:
        return {
            "attempt_id": str(self.id),
            "model": self.target.model,
            "provider": self.target.provider,
            "input_tokens_estimate": self.input_tokens,
            "input_tokens_counted": self.estimate.counted_tokens,
            "max_output_tokens": self.max_output_tokens,
            "hold_usd": f"{self.hold_usd:f}",
            "hold_tokens": self.hold_tokens,
        }


def plan(call: Call, target: Target, number: int, *, body: Body | None = None) -> Attempt:
    """Plan a call to a target, of another body than the call's if one is given. Raises ModelUnpriced, Untranslatable,
    ContextLengthExceeded."""
    body = call.body if body is None else body
    processing = processing_of(call.facts.service_tier)
    rates = call.snapshot.prices.rates(
        target.provider, target.model, at=call.received_at, processing=processing
    )
    if call.previous and call.previous.provider != target.provider:
        raise Untranslatable("previous_response_id", target="an account that does not keep that response")
    prepared = prepare(
        call.wire,
        body,
        kind=target.kind,
        upstream_model=target.upstream,
        max_output_tokens=None,
        source=call.source,
    )
    exchange = _marked(prepared, target) if call.policy.cache.provider_marks else prepared
    estimate = estimate_exchange(exchange, body, call.facts, target=target, snapshot=call.snapshot)
    if call.previous and not body.get("prompt"):
        estimate = replace(estimate, kept_tokens=min(estimate.kept_tokens, call.previous.context_tokens))
    input_tokens = estimate.most_tokens
    if (longest := longest_input(exchange, estimate, target=target)) > target.context_window:
        least = least_input(
            call.wire, body, target=target, passed_on=call.passed_on if exchange.is_native else {}
        )
        if least > target.context_window:
            raise ContextLengthExceeded(
                tokens=max(least, min(longest, estimate.counted_tokens)),
                most_tokens=target.context_window,
                model=target.model,
                param="messages" if call.wire.is_chat else "input",
            )
    facts, n = read_route_facts(body), call.facts.n
    has_output = target.model_kind == "chat"
    limit = output_limit(target, facts=facts, policy=call.policy, input_tokens=estimate.likely_tokens)
    return Attempt(
        id=UUID(bytes=uuid_utils.uuid7().bytes),
        number=number,
        target=target,
        exchange=exchange.limited(limit if has_output else None),
        rates=rates,
        estimate=estimate,
        max_output_tokens=limit * n,
        is_limit_ours=has_output and call.facts.max_output_tokens is None,
        hold_usd=hold_for(
            rates, input_tokens=input_tokens + estimate.kept_tokens, max_output_tokens=limit, n=n
        ),
        is_marked_by_us=exchange is not prepared,
    )


def _marked(exchange: Exchange, target: Target) -> Exchange:
    """The exchange with marks for Anthropic's prompt cache where they pay; the same object where they do not."""
    if exchange.upstream.api != "anthropic.messages":
        return exchange
    body = with_cache_marks(
        exchange.body, count=lambda part: count_input(exchange.upstream, part, target.tokenizer)
    )
    return exchange if body is exchange.body else replace(exchange, body=body)
