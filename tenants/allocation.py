"""Whose cost a call is: its cost centre, its project and its other tags, and who named them.

Invariant: pure. Each tag has one value and one source, the nearest that names it: the request, its run, the key, the user, the
user's team, the tenant. A tag that is fixed is the caller's to choose only where nobody else names it. `cost_center` and
`project` are tags that have columns, budgets and sections of their own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any, Final

from config.values import value_type

Tags = Mapping[str, str]
Level = tuple[str, Tags]

COST_CENTER: Final = "cost_center"
PROJECT: Final = "project"
WITH_BUDGETS: Final = (COST_CENTER, PROJECT)
REQUEST, RUN, KEY, USER, TEAM, TENANT = SOURCES = ("request", "run", "key", "user", "team", "tenant")
CALLERS: Final = (REQUEST, RUN)  # what whoever calls says
MOST_TAGS: Final = 20
LONGEST_NAME: Final = 100
LONGEST_VALUE: Final = 200
NO_TAGS: Final[Tags] = MappingProxyType({})
_NOT_IN_NAMES: Final = frozenset(",=\n\r\t\x00")
_NOT_IN_VALUES: Final = frozenset(",\n\r\x00")


def no_tags() -> Tags:
    """For fields: their default."""
    return NO_TAGS


class InvalidTags(ValueError):
    """Tags that nobody could send in a header."""


@value_type
class Allocation:
    """The tags of a call, who named each, and the required ones that nobody named."""

    tags: Tags = field(default_factory=no_tags)
    sources: Mapping[str, str] = field(default_factory=no_tags)
    missing: tuple[str, ...] = ()

    @property
    def cost_center(self) -> str:
        return self.tags.get(COST_CENTER, "")

    @property
    def project(self) -> str:
        return self.tags.get(PROJECT, "")

    @property
    def kept(self) -> dict[str, str]:
        """The tags as a ledger row keeps them: the cost centre has a column alone."""
        return {name: value for name, value in self.tags.items() if name != COST_CENTER}


def resolve(
    levels: Sequence[Level], *, fixed: Collection[str] = (), required: Sequence[str] = ()
) -> Allocation:
    """The tags of levels, the nearest first. An empty value names nothing."""
    tags: dict[str, str] = {}
    sources: dict[str, str] = {}
    for source, values in reversed(levels):
        for name, value in values.items():
            if not value:
                continue
            if name in fixed and source in CALLERS and sources.get(name, source) not in CALLERS:
                continue
            tags[name], sources[name] = value, source
    return Allocation(tags, sources, tuple(name for name in required if name not in tags))


def check_tags(value: Any, *, without: Collection[str] = ()) -> None:
    """Raise InvalidTags unless it is an object of names and texts that a header could name too."""
    if not isinstance(value, Mapping) or len(value) > MOST_TAGS:
        raise InvalidTags(f'must be an object of at most {MOST_TAGS} tags such as {{"project": "search"}}')
    for name, text in value.items():
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or _NOT_IN_NAMES & set(name):
            raise InvalidTags(f"{str(name)[:60]!r} is no name of a tag")
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_VALUE or _NOT_IN_VALUES & set(text):
            raise InvalidTags(
                f"the tag {name!r} needs a text of at most {LONGEST_VALUE} characters without a comma"
            )
        if name != name.strip() or text != text.strip():
            raise InvalidTags(f"the tag {name!r} has a space at an end")
        if name in without:
            raise InvalidTags(f"{name!r} has a field of its own")


def as_text(tags: Tags) -> str:
    """Tags as the header has them: "project=search, env=prod"."""
    return ", ".join(f"{name}={value}" for name, value in tags.items())


def from_text(text: str) -> dict[str, str]:
    """Tags as `as_text` writes them, also one a line; raises InvalidTags."""
    tags = {}
    for part in text.replace("\n", ",").split(","):
        if not part.strip():
            continue
        name, sign, value = part.partition("=")
        if not sign:
            raise InvalidTags(f"{part.strip()[:60]!r} is no tag such as “project=search”")
        tags[name.strip()] = value.strip()
    check_tags(tags)
    return tags
