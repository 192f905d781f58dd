"""Deferred calls."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from llm.views.schemas.base import USD

Lane = Literal["cache", "batch", "flex", "online"]


class LaneOffer(BaseModel):
    """One lane that the call could take, as it looked when the call was accepted."""

    lane: Lane
    expected_usd: str = Field(
        description=f"{USD} With what real time costs where the lane is late, as often as that is likely."
    )
    late: float = Field(
        ge=0,
        le=1,
        description="How likely its answer is not there in time, and the call goes out in real time.",
    )
    missed: float = Field(ge=0, le=1, description="How likely the deadline is missed all the same.")
    seconds: float = Field(ge=0, description="How long the lane has, from the call's acceptance.")


class JobTokens(BaseModel):
    input: int
    output: int


class JobMoney(BaseModel):
    request_id: UUID
    lane: Lane
    processing: Literal["batch", "flex", "online"] | None = Field(description="None: from memory.")
    model: str
    provider: str
    tokens: JobTokens | None
    estimate_usd: str = Field(description=f"What it was expected to cost in its lane. {USD}")
    upper_bound_usd: str = Field(
        description=f"What is held until it is over: the price of the dearest lane. {USD}"
    )
    cost_usd: str | None = Field(description=f"None until it is over. {USD}")
    list_cost_usd: str | None = Field(description=f"What it would have cost without Purser. {USD}")
    saved_usd: str | None = Field(description=USD)
    lanes: list[LaneOffer]


class JobError(BaseModel):
    code: str
    message: str
    status: int | None = Field(description="What HTTP's status would have been.")


class JobObject(BaseModel):
    id: str
    object: Literal["job"]
    endpoint: str
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    lane: Lane
    model: str
    created_at: datetime
    deadline: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_asked_at: datetime | None
    response: dict[str, Any] | None = Field(
        description="The answer in the API that was asked, with its own `purser` object. None in a list."
    )
    error: JobError | None
    purser: JobMoney


class JobList(BaseModel):
    object: Literal["list"]
    data: list[JobObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
