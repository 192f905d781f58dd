"""What a batch may cost: priced when it is created, from the sums that were kept of its file when it was uploaded.

Invariant: pure but for `refuse_unaffordable`, which asks for balances and holds nothing. The upper bound is the sum of what its
lines are held at, at the prices of its creation; the lines themselves are held in the worker.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.budgets.balances import BudgetExceeded, tightest
from billing.budgets.windows import WindowKey, windows_for
from billing.errors import ModelUnpriced, UnpricedMeter
from billing.estimates.costs import INPUT_METERS, bound_of_many, expected_of_many
from billing.ledger import holds
from billing.runs.opening import envelope_windows
from billing.usage.served import contexts
from llm.batches.checking import Sum, batch_rates
from llm.batches.offers import offers
from llm.calls.dimensions import allocation_of, dimensions_of
from llm.catalog.snapshot import TenantSnapshot
from llm.providers.target import Target
from tenants.allocation import NO_TAGS
from tenants.errors import ClientError


@dataclass(frozen=True, slots=True)
class Payer:
    """To whom a batch is charged."""

    key_id: int
    user: str
    feature: str
    tags: Mapping[str, str]
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Need:
    """What lines may need of one budget."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    requests: int = 0

    def of(self, unit: str) -> Decimal:
        return {"usd": self.usd, "tokens": Decimal(self.tokens), "requests": Decimal(self.requests)}[unit]


@dataclass(slots=True)
class BatchEstimate:
    """What a batch will probably cost, what that would be in real time at list prices, and the most it can cost."""

    cost_usd: Decimal
    list_cost_usd: Decimal
    upper_bound_usd: Decimal
    needs: dict[WindowKey, Need]


def estimate(
    report: Mapping[str, Any], *, payer: Payer, snapshot: TenantSnapshot, at: datetime
) -> BatchEstimate:
    """Price the sums of a file's report. A model that is not offered any more counts nothing: the batch fails by it."""
    result = BatchEstimate(Decimal(0), Decimal(0), Decimal(0), {})
    for one, target in _targets(report, payer=payer, snapshot=snapshot, at=at):
        rates = batch_rates(snapshot, target, at=at)
        bound = max(
            bound_of_many(
                possible,
                input_tokens=one.most_input_tokens,
                output_tokens=one.most_output_tokens,
                longest_input=one.longest_input,
                input_meters=INPUT_METERS if one.writes_cache else ("input", "cache_read"),
            )
            for possible in contexts(snapshot.prices, rates, at=at, processings=frozenset())
        )
        tokens = {"input_tokens": one.input_tokens, "output_tokens": one.output_tokens}
        expected = expected_of_many(rates, **tokens, longest_input=one.longest_input)
        result.upper_bound_usd += bound
        result.cost_usd += expected.cost_usd
        result.list_cost_usd += _list_cost(one, target, snapshot=snapshot, at=at) or expected.list_cost_usd
        for window in _windows(one, target, payer=payer, snapshot=snapshot, at=at):
            need = result.needs.setdefault(window, Need())
            need.usd += bound
            need.tokens += one.most_input_tokens + one.most_output_tokens
            need.requests += one.lines
    return result


async def refuse_unaffordable(tenant_id: int, *, estimate: BatchEstimate) -> None:
    """Raise BudgetExceeded where the upper bound does not fit into a hard budget now; nothing is held."""
    needs = {(window.budget.id, window.subject): need for window, need in estimate.needs.items()}
    balances = await holds.recent_balances(tenant_id, tuple(estimate.needs), since=time.monotonic())
    short = [
        balance
        for balance in balances
        if balance.mode == "hard"
        and needs[balance.budget_id, balance.subject].of(balance.unit) > balance.remaining
    ]
    if short:
        fullest = tightest(short)
        needed = needs[fullest.budget_id, fullest.subject].of(fullest.unit)
        raise BudgetExceeded(fullest, needed=needed, what="batch")


def _targets(
    report: Mapping[str, Any], *, payer: Payer, snapshot: TenantSnapshot, at: datetime
) -> Iterator[tuple[Sum, Target]]:
    find = offers(snapshot, key_id=payer.key_id, at=at)
    for facts in report["sums"]:
        one = Sum(**facts)
        try:
            yield one, find(one.model)
        except ClientError:
            continue


def _list_cost(one: Sum, target: Target, *, snapshot: TenantSnapshot, at: datetime) -> Decimal | None:
    """What the lines would cost in real time at list prices; None where the model has no price there."""
    try:
        rates = snapshot.prices.rates(target.provider, target.model, at=at)
        tokens = {"input_tokens": one.input_tokens, "output_tokens": one.output_tokens}
        return expected_of_many(rates, **tokens, longest_input=one.longest_input).list_cost_usd
    except (ModelUnpriced, UnpricedMeter):
        return None


def _windows(
    one: Sum, target: Target, *, payer: Payer, snapshot: TenantSnapshot, at: datetime
) -> tuple[WindowKey, ...]:
    """The budgets that the lines fall into; of users who are too many to be summed apart, not each one's own."""
    key = next((key for key in snapshot.tenant.keys.values() if key.id == payer.key_id), None)
    user = payer.user or one.user or ""
    allocation = allocation_of(
        snapshot,
        user=user,
        key_tags=key.tags if key else NO_TAGS,
        tags=payer.tags,
        run_tags=payer.context.get("run_tags") or NO_TAGS,
    )
    dimensions = dimensions_of(
        allocation,
        user=user,
        key=key.name if key else "",
        feature=payer.feature,
        model=target.model,
        provider=target.provider,
    )
    budgets = windows_for(snapshot.budgets, dimensions, at=at, timezone=snapshot.tenant.timezone)
    return *budgets, *envelope_windows(payer.context)
