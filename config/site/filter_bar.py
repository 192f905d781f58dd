"""The filter bar of a list or a report: its fields, read from the address and written back into every link.

Invariant: what is chosen stands in the address, so that a page can be bookmarked and sent; a secret never does. A value that
a field does not offer, or that is too long, counts as not chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

MOST_CHARACTERS: Final = 200
PERIODS: Final = {
    "1h": ("last hour", timedelta(hours=1)),
    "24h": ("last 24 hours", timedelta(days=1)),
    "7d": ("last 7 days", timedelta(days=7)),
    "30d": ("last 30 days", timedelta(days=30)),
    "all": ("any time", None),
    "own": ("from … to …", None),
}


@dataclass(frozen=True)
class Field:
    """One field. With `choices` it is a pick list; `suggestions` are offered while typing; else `kind` of HTML's inputs."""

    name: str
    label: str
    choices: Sequence[tuple[str, str]] = ()
    suggestions: Sequence[str] = ()
    kind: str = "text"
    hint: str = ""
    default: str = ""
    is_rare: bool = False  # shown when asked for


@dataclass(frozen=True)
class FilterBar:
    """Fields with what is chosen in them. `kept` are further parameters of the page, such as its order."""

    fields: Sequence[Field]
    values: Mapping[str, str]
    kept: Mapping[str, str] = field(default_factory=dict)
    verb: str = "Show"

    @classmethod
    def read(
        cls,
        fields: Sequence[Field],
        query: Mapping[str, Any],
        *,
        kept: Sequence[str] = (),
        verb: str = "Show",
    ) -> "FilterBar":
        """The bar with what an address chose."""
        values = {one.name: _chosen(one, str(query.get(one.name, ""))) for one in fields}
        return cls(fields, values, {name: str(query[name]) for name in kept if name in query}, verb)

    def chosen(self, name: str) -> str:
        """What is chosen in a field; "" for nothing."""
        return self.values.get(name, "")

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the defaults is chosen."""
        return any(self.chosen(one.name) != one.default for one in self.fields)

    def query(self, **changes: str) -> str:
        """The address's query of this choice with some changes, for links; defaults are left out."""
        defaults = {one.name: one.default for one in self.fields}
        wanted = {**self.kept, **self.values, **changes}
        return urlencode({name: value for name, value in wanted.items() if value != defaults.get(name, "")})

    def usual(self) -> list[dict[str, Any]]:
        """The fields that everybody sees, for the template."""
        return [{"field": one, "value": self.chosen(one.name)} for one in self.fields if not one.is_rare]

    def rare(self) -> list[dict[str, Any]]:
        """The fields behind "more", for the template."""
        return [{"field": one, "value": self.chosen(one.name)} for one in self.fields if one.is_rare]

    @property
    def needs_more(self) -> bool:
        """Whether a rare field is chosen, so that it must be seen."""
        return any(one["value"] != one["field"].default for one in self.rare())


def period_fields(*, default: str = "24h") -> tuple[Field, ...]:
    """When: a span that ends now, or two days."""
    choices = [(name, label) for name, (label, _) in PERIODS.items()]
    return (
        Field("period", "Time", choices=choices, default=default),
        Field("from", "From, UTC", kind="date", is_rare=True),
        Field("to", "To, UTC", kind="date", is_rare=True),
    )


def span_of(bar: FilterBar, *, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The first moment that counts and the first that does not; None: without a bound."""
    first, last = _day(bar.chosen("from")), _day(bar.chosen("to"))
    if first or last:  # two days say more than a span
        return (
            datetime(first.year, first.month, first.day, tzinfo=UTC) if first else None,
            datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1) if last else None,
        )
    length = PERIODS.get(bar.chosen("period"), ("", None))[1]
    return (now - length if length else None), None


def _chosen(field: Field, value: str) -> str:
    value = value.strip()
    if field.choices and value not in {name for name, _ in field.choices}:
        return field.default
    return value if value and len(value) <= MOST_CHARACTERS and "\x00" not in value else field.default


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1970 <= day.year <= 9000 else None
