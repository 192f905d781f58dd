"""What a configuration file may say about what becomes of a month: how its cost is shared, and where its reports go.

Invariant: pure, and strict about names, as `spec` is.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from llm.configuration.blocks import EMAIL, Block, Name, Url

Percent = Annotated[Decimal, Field(gt=0, le=100, max_digits=9, decimal_places=6)]
# By its look, because a plain union's error would complain of both forms.
Shares = Annotated[
    Annotated[list[Name], Tag("the names")] | Annotated[dict[Name, Percent], Tag("the percentages")],
    Discriminator(lambda value: "the percentages" if isinstance(value, dict) else "the names"),
]


class SplitRuleSpec(Block):
    """Which cost of a tenant is shared, and among whom; of its months, only the last one can be changed later."""

    name: Name
    place: Annotated[int, Field(ge=0, le=32_767)] = 100
    source: Literal["cost_center", "project", "tag", "unallocated", "credits", "fees"]
    tag: Annotated[str, Field(max_length=100)] = ""
    value: Annotated[str, Field(max_length=200)] = ""
    method: Literal["even", "proportional", "fixed"]
    shares: Annotated[Shares, Field(max_length=200)] = []
    first_month: Annotated[str, Field(max_length=7)]
    last_month: Annotated[str, Field(max_length=7)] = ""

    def identity(self) -> str:
        """A rule of a name begins once in a month."""
        return f"{self.name} from {self.first_month}"

    def as_stored(self) -> list[list[str]]:
        if isinstance(self.shares, dict):
            return [[name, f"{percent:f}"] for name, percent in self.shares.items()]
        return [[name, ""] for name in self.shares]


class DeliverySpec(Block):
    """Which reports go where by themselves: to e-mail addresses, into a bucket, or into a folder of the installation."""

    name: Name
    what: Literal["pack", "report", "statement"] = "pack"
    formats: Annotated[list[Name], Field(max_length=40)] = []
    when: Literal["close", "daily", "monthly"] = "close"
    day: Annotated[int, Field(ge=1, le=28)] | None = None
    hour: Annotated[int, Field(ge=0, le=23)] = 6
    email: Annotated[list[Annotated[str, Field(pattern=EMAIL, max_length=254)]], Field(max_length=10)] = []
    bucket: Annotated[str, Field(max_length=300)] = ""
    endpoint: Url | Literal[""] = ""
    region: Annotated[str, Field(max_length=40)] = ""
    access_key: str = Field(default="", max_length=300, repr=False)
    secret_key: str = Field(default="", max_length=300, repr=False)
    folder: Annotated[str, Field(max_length=300)] | None = None
    active: bool = True

    @property
    def kind(self) -> str:
        return "s3" if self.bucket else "email" if self.email else "folder"

    @property
    def target(self) -> str:
        return self.bucket or ", ".join(self.email) or self.folder or ""

    @model_validator(mode="after")
    def _has_one_place(self) -> "DeliverySpec":
        if sum((bool(self.email), bool(self.bucket), self.folder is not None)) != 1:
            raise ValueError("a delivery goes to one of email, bucket and folder")
        return self
