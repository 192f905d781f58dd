"""The files of months, and statements."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from llm.views.schemas.base import USD


class ReportMonth(BaseModel):
    month: str
    timezone: str
    starts_at: datetime
    ends_at: datetime
    status: Literal["open", "closing", "closed"]


class ReportFileObject(BaseModel):
    object: Literal["report_file"]
    id: str
    month: str
    format: str
    name: str
    bytes: int
    sha256: str
    made_at: datetime = Field(description="The state of the ledger that it has.")
    url: str


class ReportList(BaseModel):
    object: Literal["list"]
    months: list[ReportMonth] = Field(description="The tenant's months, the newest first.")
    data: list[ReportFileObject]


class ReportJobObject(BaseModel):
    """Files that are being made; ask again in a few seconds."""

    object: Literal["report_job"]
    id: str
    month: str
    formats: list[str]
    status: Literal["queued", "running", "failed"]
    step: str = Field(description="What is done now.")
    lines_done: int
    lines_total: int = Field(description="0: not known yet.")
    error: str
    created_at: datetime


class StatementFileObject(BaseModel):
    format: str
    name: str
    bytes: int
    sha256: str
    url: str


class StatementObject(BaseModel):
    """What was asked for a closed month."""

    object: Literal["statement"]
    id: str = Field(description="Its code, as on the invoice.")
    month: str
    timezone: str
    currency: str
    total: str = Field(description="In the currency, without tax.")
    tax: str
    payable: str
    exact_usd: str = Field(description=USD)
    records: int = Field(description="Rows of the ledger.")
    requests: int
    digest: str = Field(
        description="sha256 over the statement, its month's ledger and the statement before it."
    )
    previous_digest: str
    issued_at: datetime
    files: list[StatementFileObject] | None = Field(default=None, description="Of one statement.")


class StatementList(BaseModel):
    object: Literal["list"]
    data: list[StatementObject] = Field(description="The newest first.")
