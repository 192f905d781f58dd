"""Calls of models, and what Purser adds to their answers."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from billing.scopes import Unit
from llm.views.schemas.base import USD, CacheState, Open


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


class _Choices(Open):
    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    purser: PurserBlock


class ChatAnswer(_Choices):
    object: Literal["chat.completion"]


class CompletionRequest(Open):
    """A body of OpenAI's legacy completions."""

    model: str
    prompt: str | list[Any]
    max_tokens: int | None = Field(default=None, ge=1)
    stream: bool = False


class CompletionAnswer(_Choices):
    object: Literal["text_completion"]


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
