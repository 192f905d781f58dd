"""The files of months, and statements."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
    set_off: str = Field(description="What was paid ahead (prepaid balance) of it.")
    due: str = Field(description="What is still to be paid.")
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


class ChargebackMonth(BaseModel):
    object: Literal["chargeback_month"]
    month: str
    statement: str = Field(description="The code of the statement that it divides.")
    sha256: str = Field(description="Of what was kept, byte for byte.")
    made_at: datetime
    url: str


class ChargebackList(BaseModel):
    object: Literal["list"]
    data: list[ChargebackMonth] = Field(description="The newest first.")


class ChargebackMove(BaseModel):
    """What a split rule puts on a cost centre, or with a minus takes off it."""

    rule: str
    method: str
    usd: str


class ChargebackItem(BaseModel):
    """What one cost centre bears: `own` and `moved` make `exact_usd`."""

    cost_center: str = Field(description="Empty: what no rule gives to anybody.")
    records: int
    own: dict[str, str] = Field(description="What was booked on it, by kind, in USD.")
    moved: list[ChargebackMove]
    exact_usd: str
    owed: str = Field(description="Its part of the statement's total, in the currency.")
    tax: str


class ChargebacksObject(BaseModel):
    """A closed month, divided among cost centres; the sums of the items are the statement's."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["chargebacks"]
    format: str = Field(alias="schema")
    tenant_slug: str
    tenant_name: str
    month: str
    timezone: str
    code: str
    currency: str
    exact_usd: str
    total: str
    tax: str
    items: list[ChargebackItem]


class SplitShare(BaseModel):
    cost_center: str
    percent: str | None = Field(description="Of fixed shares.")


class SplitRuleObject(BaseModel):
    object: Literal["split_rule"]
    name: str
    place: int = Field(description="A cost that several rules name is of the one with the lowest.")
    source: Literal["cost_center", "project", "tag", "unallocated", "credits", "fees"]
    tag: str
    value: str
    method: Literal["even", "proportional", "fixed"]
    shares: list[SplitShare] = Field(description="None: all cost centres that have cost of their own.")
    first_month: str
    last_month: str


class SplitRuleList(BaseModel):
    object: Literal["list"]
    data: list[SplitRuleObject]
