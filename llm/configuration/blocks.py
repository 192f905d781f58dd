"""What all blocks of a configuration file share: their base, and the kinds of their values.

Invariant: pure. An unknown key is an error, and a value says in its error what it should have been.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Name = Annotated[str, Field(min_length=1, max_length=100)]
SLUG, URL, EMAIL, METER = (
    r"^[-a-zA-Z0-9_]+$",
    r"^https?://[^\s/]+",
    r"^[^@\s]+@[^@\s]+$",
    r"^[a-z][a-z0-9_]*$",
)
CURRENCY = r"^[A-Z]{3}$"
FORMS = {
    CURRENCY: "must be a currency of ISO 4217 such as EUR",
    SLUG: "may hold letters, digits, - and _ only",
    URL: "must be an address such as https://host/path",
    EMAIL: "must be an e-mail address",
    METER: "must be a meter such as input, cache_read or output",
}
Secret = Annotated[str, StringConstraints(strip_whitespace=True, min_length=32, max_length=500)]
Slug = Annotated[str, Field(pattern=SLUG, max_length=63)]
Url = Annotated[str, Field(pattern=URL, max_length=300)]
Count = Annotated[int, Field(ge=1, le=9_000_000_000_000_000)]
Weight = Annotated[float, Field(ge=0, le=1_000_000)]
Tier = Literal["simple", "standard", "complex"]


def _as_written(value: Any) -> Any:
    """A date stays one: it means the whole day, in the tenant's time zone."""
    try:
        if isinstance(value, str):
            is_time = len(value) > len("2027-12-31")
            return datetime.fromisoformat(value) if is_time else date.fromisoformat(value)
    except ValueError:
        value = "no date"
    if isinstance(value, datetime | date):
        return value
    raise ValueError("must be a date such as 2027-12-31, or a time such as 2027-12-31T12:00:00Z")


Day = Annotated[datetime | date, BeforeValidator(_as_written)]


class Block(BaseModel):
    """A block of the file. Numbers pass for text, because `cost_center: 4711` means what it says."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True
    )

    def written(self) -> set[str]:
        """The names of the fields that the file has."""
        return set(self.model_fields_set)
