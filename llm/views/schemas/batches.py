"""Files and batches."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from llm.views.schemas.base import USD, Open
from llm.views.schemas.calls import MessagesRequest


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


class MessageBatchDeleted(BaseModel):
    id: str
    type: Literal["message_batch_deleted"]


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
