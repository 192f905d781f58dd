"""The part of a policy that says whose cost a call is.

Invariant: its tags are such as a header could name (`tenants.allocation.check_tags`), so a tag means the same wherever it is set.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from tenants.allocation import COST_CENTER, InvalidTags, check_tags

_CONFIG = ConfigDict(extra="forbid", strict=True)


def _as_text(value: Any) -> Any:
    """`cost_center: 4711` means what it says."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    try:
        check_tags(tags)
    except InvalidTags as error:
        raise ValueError(str(error)) from None
    return tags


Tags = Annotated[Mapping[str, Annotated[str, BeforeValidator(_as_text)]], AfterValidator(_checked_tags)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


@dataclass(frozen=True, slots=True, config=_CONFIG)
class AllocationPolicy:
    """Whose cost a call is, where it does not say so itself: the tags of the tenant and of its teams. And the tags that every
    call needs, what becomes of one that has none, and the tags that a caller chooses only where nobody else names them.
    """

    tags: Tags = field(default_factory=dict)
    teams: Annotated[Mapping[Name, Tags], Field(max_length=500)] = field(default_factory=dict)
    required: Annotated[tuple[Name, ...], Field(max_length=20)] = (COST_CENTER,)
    missing: Literal["mark", "refuse"] = "mark"
    fixed: Annotated[tuple[Name, ...], Field(max_length=20)] = ()
