"""Files and batches."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from llm.views.schemas.base import USD, Open
from llm.views.schemas.calls import MessagesRequest


class FileForm(BaseModel):
    file: str = Field(json_schema_extra={"format": "binary"})
    purpose: Literal["batch", "assistants", "fine-tune", "vision", "user_data", "evals"]


class FileModel(BaseModel):
    lines: int
    input_tokens: int = Field(description="As counted before the call.")
    max_output_tokens: int = Field(description="What its answers may have at most.")


class FileProblem(BaseModel):
    line: int | None = Field(description="None: of the file as a whole.")
    code: str
    message: str
    param: str | None


class FileCheck(BaseModel):
    lines: int
    bytes: int
    models: dict[str, FileModel]
    problem_count: int
    problems: list[FileProblem] | None = Field(
        default=None, description="The first 1,000 of them; not in a list of files."
    )


class FileObject(BaseModel):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed", "error"] = Field(
        description="`error`: a batch's lines, of which some cannot be sent."
    )
    expires_at: int | None
    status_details: str | None = Field(description="The first problems in words.")
    purser: FileCheck | None = Field(default=None, description="What the lines of a batch are.")


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
    estimated_cost_usd: str | None = Field(description=f"What it will probably cost. {USD}")
    estimated_list_cost_usd: str | None = Field(description="The same lines in real time, at list prices.")
    estimated_saved_usd: str | None = Field(description="The difference of the two.")
    upper_bound_usd: str | None = Field(description="The most it can cost: what is held for it.")
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
