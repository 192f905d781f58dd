"""One planned call to one target: what goes out, and the most that it can cost.

Invariant: pure. Held is input, rather too high than too low, at the highest rate that may apply, and `n` answers: as long as
`max_tokens` lets them be, or as long as such answers usually get where the limit is ours and either no hard budget counts
the call or it is extended while it streams.
"""

from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import uuid_utils

from billing.budgets.balances import Balance
from billing.estimates.costs import INPUT_METERS, affordable_output_tokens, hold_for
from billing.ledger.holds import NewAttempt
from billing.prices.book import Rates
from config.values import value_type
from llm.calls.call import Call
from llm.errors import ContextLengthExceeded
from llm.output import covering
from llm.output.limits import OutputLimit, limit_for, need_of
from llm.providers.target import Target
from llm.steps.output_maximum import is_maximum_raised
from llm.tokens.estimating import InputEstimate, estimate_exchange, least_input, longest_input
from llm.wire import Exchange, Untranslatable
from llm.wire.cache_marks import with_cache_marks
from llm.wire.service_tiers import highest_of, processing_of

LONG_TTL, LONG_WRITES = b'"12h"', "cache_write_12h"  # OpenAI's cache lifetime with the higher price
MARK = b'"cache_control"'  # a client's own, for the provider's prompt cache
LEAST_OUTPUT_TOKENS = 64  # a shorter answer than this is of no use: refuse instead


@value_type
class PlannedAttempt:
    """A call that is about to be made."""

    id: UUID
    number: int
    target: Target
    exchange: Exchange
    rates: Rates  # of what it asks for
    held_rates: Rates  # the highest that it may be served at
    held_meters: tuple[str, ...]  # of its input
    estimate: InputEstimate
    limit: OutputLimit
    max_output_tokens: int  # of all answers
    held_output_tokens: int
    hold_usd: Decimal
    must_be_covered: bool = False  # nothing may come that is not held
    is_marked_by_us: bool = False  # for the provider's prompt cache

    @property
    def input_tokens(self) -> int:
        """The most input tokens it may have."""
        return self.estimate.most_tokens + self.estimate.kept_tokens

    @property
    def hold_tokens(self) -> int:
        return self.input_tokens + self.held_output_tokens

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

    def within(self, call: Call, balance: Balance) -> "PlannedAttempt | None":
        """The same call with as much output as a budget still affords; None if the client set the limit or little is left."""
        if not self.limit.is_ours:
            return None
        n = call.facts.n
        limit = affordable_output_tokens(
            self.held_rates, balance=balance, input_tokens=self.input_tokens, n=n
        )
        if limit < LEAST_OUTPUT_TOKENS or limit >= self.held_output_tokens // n:
            return None
        return self.limited(OutputLimit(limit, limit, "budget"), n=n)

    def limited(self, limit: OutputLimit, *, n: int) -> "PlannedAttempt":
        """The same call with that limit of each answer, all of it held."""
        return replace(
            self.holding(limit.most * n),
            exchange=self.exchange.limited(limit.sent),
            limit=limit,
            max_output_tokens=limit.most * n,
        )

    def holding(self, output_tokens: int) -> "PlannedAttempt":
        """The same call with so many output tokens held."""
        hold_usd = hold_for(
            self.held_rates,
            input_tokens=self.input_tokens,
            max_output_tokens=output_tokens,
            input_meters=self.held_meters,
        )
        return replace(self, held_output_tokens=output_tokens, hold_usd=hold_usd)

    def to_receipt(self) -> dict[str, Any]:
        """The plan's figures by name, the limit of output as `{"sent", "set_by"}`; `let_go` names what a translation left out."""
        return {
            "attempt_id": str(self.id),
            "model": self.target.model,
            "provider": self.target.provider,
            "input_tokens_estimate": self.input_tokens,
            "input_tokens_counted": self.estimate.counted_tokens,
            "max_output_tokens": self.max_output_tokens,
            "held_output_tokens": self.held_output_tokens,
            "output_limit": {"sent": self.limit.sent, "set_by": self.limit.set_by},
            "hold_usd": f"{self.hold_usd:f}",
            "hold_tokens": self.hold_tokens,
            **({"let_go": list(self.exchange.let_go)} if self.exchange.let_go else {}),
        }


def plan(call: Call, target: Target, number: int) -> PlannedAttempt:
    """Plan a call to a target. Raises ModelUnpriced, Untranslatable, ContextLengthExceeded."""
    body = call.body
    processing = processing_of(call.facts.service_tier)
    rates = call.snapshot.prices.rates(
        target.provider, target.model, at=call.received_at, processing=processing
    )
    if field := call.stranger_to(target):
        raise Untranslatable(field, target="an account that does not keep what it refers to")
    prepared = call.readings.translated(call.wire, body, target.kind).for_model(
        target.upstream, source=call.source
    )
    exchange = _marked(call, prepared, target) if call.policy.cache.provider_marks else prepared
    estimate = estimate_exchange(
        prepared, call.facts, target=target, snapshot=call.snapshot, count=call.readings.count
    )
    if call.previous and not body.get("prompt") and not call.facts.references:
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
    n = call.facts.n
    limit = limit_for(
        target,
        facts=call.route_facts(),
        policy=call.policy,
        input_tokens=estimate.likely_tokens,
        api=call.wire.api,
        is_maximum_raised=is_maximum_raised(call),
    )
    meters = _input_meters(call, rates)
    hold = partial(
        hold_for,
        input_tokens=input_tokens + estimate.kept_tokens,
        max_output_tokens=limit.most,
        n=n,
        input_meters=meters,
    )
    held_rates = highest_of(
        call.snapshot.prices, rates, at=call.received_at, service_tier=call.facts.service_tier, hold=hold
    )
    attempt = PlannedAttempt(
        id=UUID(bytes=uuid_utils.uuid7().bytes),
        number=number,
        target=target,
        exchange=exchange.limited(limit.sent),
        rates=rates,
        held_rates=held_rates,
        held_meters=meters,
        estimate=estimate,
        limit=limit,
        max_output_tokens=limit.most * n,
        held_output_tokens=limit.most * n,
        hold_usd=hold(held_rates),
        is_marked_by_us=exchange is not prepared,
    )
    return _covered(call, attempt) if limit.is_ours else attempt


def _covered(call: Call, attempt: PlannedAttempt) -> PlannedAttempt:
    """The attempt with as much of its output held as has to be, when its limit is ours."""
    target = attempt.target
    windows = call.windows(model=target.model, provider=target.provider)
    must_be_covered = call.policy.budgets.stream_overrun == "cut" or (
        covering.counts_for_a_hard_budget(windows) and not covering.shows_its_tokens(attempt.exchange)
    )
    if must_be_covered and covering.is_ample(
        windows, hold_usd=attempt.hold_usd, hold_tokens=attempt.hold_tokens
    ):
        return attempt
    need = call.facts.n * need_of(
        attempt.limit,
        target=target,
        policy=call.policy,
        long_output_tokens=call.snapshot.estimates.long_output_tokens(
            provider=target.provider, model=target.model, shape=attempt.estimate.shape
        ),
    )
    if must_be_covered:
        need = max(need, min(covering.MODEST_TOKENS * call.facts.n, attempt.max_output_tokens))
    return replace(attempt.holding(need), must_be_covered=must_be_covered)


def _input_meters(call: Call, rates: Rates) -> tuple[str, ...]:
    """The meters that its input may come to. Writes that are kept for 12 hours cost more, where they are asked for; where
    they have no price, they are held at that of the output."""
    if LONG_TTL not in call.source.raw:
        return INPUT_METERS
    return (*INPUT_METERS, LONG_WRITES if LONG_WRITES in rates.meters else "output")


def _marked(call: Call, exchange: Exchange, target: Target) -> Exchange:
    """The exchange with marks for Anthropic's prompt cache where they pay; the same object where they do not."""
    if exchange.upstream.api != "anthropic.messages":
        return exchange
    body = with_cache_marks(
        exchange.body,
        count=lambda part: call.readings.count(exchange.upstream, part, target.tokenizer),
        may_be_marked=MARK in call.source.raw,
    )
    return exchange if body is exchange.body else replace(exchange, body=body)
