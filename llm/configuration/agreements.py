"""What a configuration file may say about what is agreed with a tenant.

Invariant: pure, and strict about names, as `spec` is.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm.configuration.blocks import CURRENCY, METER, Block, Day, Name


class RateRuleSpec(Block):
    """What the tenant pays for what the list says. The lowest priority that fits counts, and no other.

    A day is that of the tenant's time zone: from its first moment, until its last.
    """

    priority: Annotated[int, Field(ge=0, le=2_000_000_000)]
    kind: Literal["pass_through", "markup_pct", "discount_pct", "fixed_unit_price"]
    value: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=9)] | None = None
    provider: Annotated[str, Field(max_length=64)] = ""
    model: Annotated[str, Field(max_length=128)] = ""
    meter: Annotated[str, Field(pattern=METER, max_length=64)] | Literal[""] = ""
    processing: Literal["online", "batch", "flex", "priority", ""] = ""
    valid_from: Day | None = None
    valid_until: Day | None = None

    @model_validator(mode="after")
    def _has_its_value(self) -> "RateRuleSpec":
        if (self.kind == "pass_through") != (self.value is None):
            raise ValueError("every kind but pass_through needs a value")
        if self.kind == "discount_pct" and self.value is not None and self.value > 100:
            raise ValueError("a discount is at most 100 percent")
        return self

    def identity(self) -> str:
        """One rule of a priority begins at a moment."""
        return f"priority {self.priority}" + (f" from {self.valid_from}" if self.valid_from else "")


class AdditionSpec(Block):
    """What is added to a prepaid balance, once by its name; `expires` is the last day on which it counts."""

    name: Name
    usd: Annotated[Decimal, Field(gt=0, max_digits=28, decimal_places=12)]
    kind: Literal["top_up", "grant"] = "top_up"
    expires: Day | None = None
    reason: Annotated[str, Field(max_length=300)] = ""


class PrepaidSpec(Block):
    """A balance from which the tenant's calls are paid."""

    alert_below_usd: Annotated[list[Annotated[float, Field(ge=0)]], Field(max_length=10)] = []
    additions: list[AdditionSpec] = []


class CommitmentSpec(Block):
    """What the tenant pays at least, in each span of months from the first one on."""

    each: Literal["month", "quarter", "year"]
    usd: Annotated[Decimal, Field(gt=0, max_digits=28, decimal_places=12)]
    first_month: Annotated[str, Field(max_length=7)]
    last_month: Annotated[str, Field(max_length=7)] = ""


class CurrencyRateSpec(Block):
    """Units of the quote for one unit of the base, on a day."""

    day: date
    base: Annotated[str, Field(pattern=CURRENCY)] = "USD"
    quote: Annotated[str, Field(pattern=CURRENCY)]
    rate: Annotated[Decimal, Field(gt=0, max_digits=28, decimal_places=12)]
    source: Annotated[str, Field(min_length=1, max_length=100)]


class GlAccountSpec(Block):
    """An account of a general ledger, by what is booked to it; of every tenant and cost centre unless it names one."""

    kind: Literal["receivable", "revenue", "credits", "commitments", "tax", "accrual", "prepaid"]
    code: Annotated[str, Field(min_length=1, max_length=40)]
    name: Annotated[str, Field(max_length=100)] = ""
    tenant: Annotated[str, Field(max_length=63)] = ""
    cost_center: Annotated[str, Field(max_length=200)] = ""

    def identity(self) -> str:
        """One account of a kind, a tenant and a cost centre."""
        return " ".join(part for part in (self.kind, self.tenant, self.cost_center) if part)


class EntrySpec(Block):
    """A credit or an adjustment, booked once by its name; for the whole tenant unless it names a user or a cost centre."""

    name: Name
    kind: Literal["credit", "adjustment"] = "credit"
    usd: Annotated[Decimal, Field(max_digits=28, decimal_places=12)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    user: Annotated[str, Field(max_length=200)] = ""
    cost_center: Annotated[str, Field(max_length=200)] = ""
    month: Annotated[str, Field(max_length=7)] = ""

    @model_validator(mode="after")
    def _is_one_thing(self) -> "EntrySpec":
        if self.user and self.cost_center:
            raise ValueError("an entry is for a user or for a cost centre")
        if self.usd == 0 or (self.kind == "credit" and self.usd < 0):
            raise ValueError("a credit is above 0, an adjustment is not 0")
        return self
