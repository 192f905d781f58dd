"""The tenant's own figures: estimates, usage, budgets, raises, receipts."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from billing.scopes import Period, Scope, Unit
from llm.views.schemas.base import USD, Open, Rating
from llm.views.schemas.calls import PurserBlock


class EstimateSample(BaseModel):
    """Sample calls, and how many calls of this mix are expected."""

    calls: list[dict[str, Any]] = Field(min_length=1, max_length=1000)
    volume: int = Field(default=1, ge=1)


class ModelEstimate(BaseModel):
    model: str
    provider: str
    tier: str | None
    input_tokens: int = Field(description="As counted here; the expected cost is made of it.")
    upper_bound_input_tokens: int = Field(
        description="The most they may be: 30 % more for a new model; the upper bound is made of it."
    )
    max_output_tokens: int = Field(description="The longest that one answer may be.")
    output_limit_set_by: list[str] = Field(
        description="Who set that limit, over the calls: client, model, window, account, tier or provider."
    )
    expected_output_tokens: int
    output_basis: str
    upper_bound_usd: str = Field(description=USD)
    expected_cost_usd: str = Field(description=USD)
    upper_bound_usd_at_volume: str = Field(description=USD)
    expected_cost_usd_at_volume: str = Field(description=USD)


class EstimateAnswer(BaseModel):
    object: Literal["estimate"]
    calls: int
    volume: int
    models: list[ModelEstimate] = Field(description="Cheapest expected cost first.")


class UsageAmounts(BaseModel):
    """USD. list_cost - saved + corrections + adjustments + credits + commitments = cost = exact + estimated + unread."""

    cost_usd: str = Field(description="What is billed.")
    list_cost_usd: str = Field(
        description="What the requests would have cost without us; nothing else has a list price."
    )
    saved_usd: str
    corrections_usd: str = Field(description="What changed the cost of calls after they were booked.")
    adjustments_usd: str
    credits_usd: str = Field(description="Negative.")
    commitments_usd: str = Field(description="What was not met of minimum commitments.")
    exact_usd: str = Field(description="Known by the providers' figures.")
    estimated_usd: str = Field(description="Counted by us.")
    unread_usd: str = Field(description="Booked at a bound until it is explained.")
    least_usd: str = Field(description="The least that the cost may be when all is known.")
    most_usd: str = Field(description="The most that it may be.")
    unallocated_usd: str = Field(
        description="Of the cost, that of calls that lack a tag which the tenant requires."
    )


class UsageCounts(BaseModel):
    requests: int = Field(description="What clients asked, each once.")
    calls: int = Field(description="Answers of providers.")
    further_calls: int = Field(description="Of them hedges, fallbacks and repairs.")
    own_calls: int = Field(description="Of them the gateway's own, for its caches.")
    unallocated_requests: int = Field(description="Requests that lack a tag which the tenant requires.")


class UsageRow(UsageCounts, UsageAmounts):
    group: str | None
    cache_hits: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int


class UsageTotal(UsageCounts, UsageAmounts):
    pass


class UsagePeriod(BaseModel):
    month: str
    timezone: str
    starts_at: datetime
    ends_at: datetime
    status: Literal["open", "closing", "closed"]


class UsageReconciliation(BaseModel):
    """by_time - booked_later + of_earlier_months = booked."""

    by_time_usd: str = Field(description="What happened in the months.")
    booked_later_usd: str = Field(description="Of that, what later months bill.")
    of_earlier_months_usd: str = Field(description="What is booked in them of other months.")
    booked_usd: str = Field(description="The exact sum of their statements.")


class UsageRefresh(BaseModel):
    """Answers bought for the cache ahead of time: part of the sums above."""

    refreshed: int = Field(description="How many were bought, in batches.")
    cost_usd: str
    hits: int = Field(description="Calls that they answered after the answers before them had expired.")
    saved_usd: str = Field(description="What those calls would have cost.")
    net_usd: str = Field(description="The same less what was bought.")


class UsageAnswer(BaseModel):
    object: Literal["usage"]
    start: date
    end: date
    timezone: str
    group_by: str
    basis: Literal["time", "statement"]
    counted_by: Literal["time", "statement"] = Field(description="As `basis`.")
    periods: list[UsagePeriod] = Field(description="The billing months, where months are asked for.")
    data: list[UsageRow]
    total: UsageTotal
    reconciliation: UsageReconciliation | None
    refresh: UsageRefresh


class BudgetState(BaseModel):
    budget: str
    scope: str
    subject: str
    unit: Unit
    period: Period
    mode: Literal["hard", "soft"]
    limit: str
    spent: str
    held: str
    remaining: str
    used_percent: str
    resets_at: datetime | None


class BudgetList(BaseModel):
    object: Literal["list"]
    data: list[BudgetState]


class RaiseWish(BaseModel):
    """Which budget, how much more of it, until when, and why. `value` is empty for a budget of each user, key, ..."""

    scope: Scope
    value: str = Field(default="", max_length=200)
    unit: Unit
    period: Period
    amount: str = Field(description="In the budget's unit, on top of its limit; exact, as text.")
    until: datetime
    reason: str = Field(min_length=1, max_length=300)


class RaiseAsker(BaseModel):
    key: str | None
    user: str | None


class RaiseRequestAnswer(BaseModel):
    id: UUID
    object: Literal["budget.raise_request"]
    state: Literal["pending", "approved", "refused", "expired"]
    scope: str
    value: str
    unit: Unit
    period: Period
    amount: str
    until: datetime
    reason: str
    requested_by: RaiseAsker
    created_at: datetime
    expires_at: datetime = Field(description="Undecided until then, it is over.")
    decided_at: datetime | None
    decision_reason: str | None


class RaiseRequestList(BaseModel):
    object: Literal["list"]
    data: list[RaiseRequestAnswer]


class RowProof(BaseModel):
    """That a ledger row of the request is part of a statement: `verify.py receipt.json statement.json` checks it offline."""

    statement: str = Field(description="Its code.")
    row: str = Field(description="The row, as JSON text; its hash is the leaf.")
    index: int = Field(description="The leaf's place among the statement's rows, from 0.")
    path: list[str] = Field(
        description="The neighbours' hashes (hexadecimal) from the leaf up to the root, as in RFC 6962."
    )


class ReceiptAnswer(Open):
    """Everything that was done to one request, in order, with figures and reasons; no prompt and no answer."""

    object: Literal["receipt"]
    request_id: UUID
    endpoint: str
    model_asked: str
    status: int
    error_code: str | None
    refusal: dict[str, Any] | None = Field(
        default=None, description="Why there is no answer: the code, and the numbers that decided it."
    )
    tags: dict[str, str] = Field(
        default={}, description="Whose cost it is: cost_center, project and other tags."
    )
    tag_sources: dict[str, str] = Field(
        default={}, description="Who named each: request, run, key, user, team or tenant."
    )
    missing_tags: list[str] = Field(
        default=[], description="Those that the tenant requires and nobody named."
    )
    steps: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    result: PurserBlock | None
    proofs: list[RowProof] = Field(default=[], description="Once the month is closed; there is none before.")


class FeedbackRequest(BaseModel):
    request_id: UUID
    rating: Rating
    reason: str = Field(default="", max_length=2000)


class FeedbackAnswer(BaseModel):
    object: Literal["feedback"]
    request_id: UUID
    rating: Rating


class FeatureEvent(BaseModel):
    """Something your product did: a ticket answered, an invoice read."""

    id: str = Field(min_length=1, max_length=100, description="Yours; sent again, it is not counted again.")
    name: str = Field(min_length=1, max_length=100, description="What was done; at most 200 names a day.")
    feature: str = Field(
        default="", max_length=200, description="As in `x-purser-feature`: whose calls paid for it."
    )
    quantity: int = Field(default=1, ge=0, le=1_000_000_000)
    at: datetime | None = Field(
        default=None, description="With a zone; at most 7 days ago. Now, where absent."
    )


class EventsRequest(BaseModel):
    events: list[FeatureEvent] = Field(min_length=1, max_length=1000)


class EventsAnswer(BaseModel):
    object: Literal["events"]
    counted: int
    duplicates: int = Field(description="Known before, or twice in this body.")
