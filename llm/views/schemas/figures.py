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


class Certainties(BaseModel):
    """How far a cost is known: by the provider's figures, counted by us, or booked at a bound until it is explained."""

    exact_usd: str
    estimated_usd: str
    unread_usd: str


class UsageRow(Certainties):
    group: str | None
    requests: int
    cache_hits: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: str
    list_cost_usd: str


class UsageTotal(Certainties):
    requests: int
    cost_usd: str
    list_cost_usd: str


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
    counted_by: Literal["time"]
    data: list[UsageRow]
    total: UsageTotal
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
    steps: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    result: PurserBlock | None


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
