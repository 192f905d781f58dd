"""The bodies of the API as its reference shows them: what is sent, what comes back, what an error looks like.

Invariant: these models describe and never decide; a request is read where it is used. A body that belongs to
a provider's API is open: fields that are not named here are passed through.
"""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Rating = Literal[1, -1]
Unit = Literal["usd", "tokens", "requests"]
Period = Literal["day", "week", "month", "total"]
CacheState = Literal["miss", "exact", "semantic", "bypass"]
USD = "Exact amount in USD, 12 decimal places, as text."


class Open(BaseModel):
    """A body of a provider's API: more fields than these are taken, or may come."""

    model_config = ConfigDict(extra="allow")


# ---------------------------------------------------------------- what Purser adds to an answer
class TokensUsed(BaseModel):
    input: int
    output: int
    prompt_before_compression: int | None
    prompt_after_compression: int | None


class BudgetRemaining(BaseModel):
    """The tightest budget that applies to the call."""

    budget: str
    unit: Unit
    remaining: str
    resets_at: datetime | None


class PurserBlock(BaseModel):
    """What was done to the call and what it cost. In every answer's body, and in the last event of a stream."""

    request_id: UUID
    cache: CacheState
    similarity: float | None
    model: str
    provider: str
    route: dict[str, Any] | None
    tokens: TokensUsed
    cost_usd: str = Field(description=f"Of all attempts that were made for the call. {USD}")
    list_cost_usd: str = Field(description=f"What the call would have cost without Purser. {USD}")
    saved_usd: str = Field(description=USD)
    budget_remaining: BudgetRemaining | None
    cut: Literal["budget"] | None = Field(
        default=None,
        description="Of a stream that was ended because its hold was used up and no budget had more.",
    )
    structured_output: Literal["valid", "repaired", "invalid", "unchecked"] | None = Field(
        default=None, description="Whether the answer fits the JSON schema, or the tool, that was asked for."
    )


class StreamEvent(BaseModel):
    """One event of a stream: `data` is JSON of the API's own, or `[DONE]`. The last JSON has the `purser` object."""

    event: str | None = None
    data: str


# ---------------------------------------------------------------- OpenAI: completions
class ChatRequest(Open):
    """A body of OpenAI's chat completions. `model` is a model's name, `auto`, or `auto:<tier>`."""

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = None
    n: int | None = Field(default=None, ge=1)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None


class ChatAnswer(Open):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    purser: PurserBlock


class CompletionRequest(Open):
    """A body of OpenAI's legacy completions."""

    model: str
    prompt: str | list[Any]
    max_tokens: int | None = Field(default=None, ge=1)
    stream: bool = False


class CompletionAnswer(Open):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    purser: PurserBlock


class ResponsesRequest(Open):
    """A body of OpenAI's responses."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    stream: bool = False
    tools: list[dict[str, Any]] | None = None


class ResponsesAnswer(Open):
    id: str
    object: Literal["response"]
    created_at: float
    model: str
    status: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    purser: PurserBlock


class KeptResponse(Open):
    """A response as its provider keeps it."""

    id: str
    object: Literal["response"]
    status: str
    output: list[dict[str, Any]]


class ResponseDeleted(Open):
    id: str
    deleted: Literal[True]


class InputItemList(Open):
    object: Literal["list"]
    data: list[dict[str, Any]]


class EmbeddingsRequest(Open):
    model: str
    input: str | list[Any]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


class EmbeddingsAnswer(Open):
    object: Literal["list"]
    data: list[dict[str, Any]]
    model: str
    usage: dict[str, Any]
    purser: PurserBlock


# ---------------------------------------------------------------- Anthropic: messages
class MessagesRequest(Open):
    """A body of Anthropic's messages. `max_tokens` may be left out: the tenant's policy has a default."""

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    system: str | list[dict[str, Any]] | None = None
    temperature: float | None = None
    stream: bool = False
    tools: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None


class MessagesAnswer(Open):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    usage: dict[str, Any]
    purser: PurserBlock


class CountTokensRequest(Open):
    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)


class CountTokensAnswer(BaseModel):
    input_tokens: int


class CountInputTokensAnswer(BaseModel):
    object: Literal["response.input_tokens"]
    input_tokens: int


# ---------------------------------------------------------------- models
class ModelObject(Open):
    """A model; in Anthropic's shape for a client that sends `anthropic-version`."""

    id: str
    object: Literal["model"] | None = None
    created: int | None = None
    owned_by: str | None = None


class ModelList(Open):
    object: Literal["list"] | None = None
    data: list[ModelObject]


# ---------------------------------------------------------------- stored chat completions
class ChatDeleted(BaseModel):
    id: str
    object: Literal["chat.completion.deleted"]
    deleted: Literal[True]


class ChatMessageList(BaseModel):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ChatList(BaseModel):
    object: Literal["list"]
    data: list[ChatAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class MetadataUpdate(BaseModel):
    metadata: dict[str, str] | None = Field(max_length=16)


# ---------------------------------------------------------------- files and batches
class FileForm(BaseModel):
    file: str = Field(json_schema_extra={"format": "binary"})
    purpose: Literal["batch", "assistants", "fine-tune", "vision", "user_data", "evals"]


class FileObject(BaseModel):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"]
    expires_at: int | None
    status_details: str | None


class FileList(BaseModel):
    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


class BatchOrder(BaseModel):
    input_file_id: str
    endpoint: Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"]
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = Field(default=None, max_length=16)


class BatchMoney(BaseModel):
    cost_usd: str = Field(description=USD)
    list_cost_usd: str = Field(description=USD)
    saved_usd: str = Field(description=USD)


class BatchObject(Open):
    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: dict[str, Any] | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int | None
    request_counts: dict[str, int]
    metadata: dict[str, str] | None
    purser: BatchMoney


class BatchList(BaseModel):
    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class MessageBatchItem(BaseModel):
    custom_id: str
    params: MessagesRequest


class MessageBatchOrder(BaseModel):
    requests: list[MessageBatchItem] = Field(min_length=1)


class MessageBatchObject(Open):
    id: str
    type: Literal["message_batch"]
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: dict[str, int]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    cancel_initiated_at: datetime | None
    results_url: str | None
    purser: BatchMoney


class MessageBatchList(BaseModel):
    data: list[MessageBatchObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


# ---------------------------------------------------------------- the tenant's own figures
class EstimateSample(BaseModel):
    """Sample calls, and how many calls of this mix are expected."""

    calls: list[dict[str, Any]] = Field(min_length=1, max_length=1000)
    volume: int = Field(default=1, ge=1)


class ModelEstimate(BaseModel):
    model: str
    provider: str
    tier: str | None
    input_tokens: int
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


class UsageRow(BaseModel):
    group: str | None
    requests: int
    cache_hits: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: str
    list_cost_usd: str


class UsageTotal(BaseModel):
    requests: int
    cost_usd: str
    list_cost_usd: str


class UsageAnswer(BaseModel):
    object: Literal["usage"]
    start: date
    end: date
    timezone: str
    group_by: str
    data: list[UsageRow]
    total: UsageTotal


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

    scope: Literal["tenant", "user", "key", "feature", "project", "cost_center", "model", "provider"]
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


# ---------------------------------------------------------------- errors
class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    error: OpenAIErrorDetail


class AnthropicErrorDetail(BaseModel):
    type: str
    message: str
    code: str
    param: str | None
    details: dict[str, str] | None = None


class AnthropicError(BaseModel):
    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str | None
