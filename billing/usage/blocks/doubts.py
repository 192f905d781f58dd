"""Doubts: what could not be read in a usage block, or cannot be true.

Invariant: `what` names the kind without its figures, so that a thousand calls with the same doubt count as one kind.
"""

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MOST_DOUBTS: Final = 20  # of one block; later ones are dropped
MOST_DETAIL: Final = 200
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


class Kind(StrEnum):
    """What a doubt means for the reading."""

    UNREAD = "unread"  # the block has something that we do not know
    CONTRADICTION = "contradiction"  # it cannot be true
    BOUNDED = "bounded"  # parts overlap by an unknown amount; read at the highest possible cost


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason not to believe a block."""

    what: str
    detail: str
    kind: Kind


@dataclass(slots=True)
class Doubts:
    """The doubts of one block, as they turn up while it is read."""

    found: dict[str, Doubt] = field(default_factory=dict)
    unread_tokens: int = 0  # tokens under names that we do not know: at worst they are billed on top
    # tokens of the output that are no text for the client: reasoning, other iterations
    unseen_output: int = 0

    def contradicts(self, what: str, detail: str) -> None:
        self.add(what, detail, kind=Kind.CONTRADICTION)

    def bounds(self, what: str, detail: str) -> None:
        self.add(what, detail, kind=Kind.BOUNDED)

    def unread(self, what: str, value: object) -> None:
        self.add(what, f"{what} is {_short(value)}, which we do not know", kind=Kind.UNREAD)

    def add(self, what: str, detail: str, *, kind: Kind) -> None:
        if len(self.found) < MOST_DOUBTS:
            what, detail = (_UNPRINTABLE.sub("?", text[:MOST_DETAIL]) for text in (what, detail))
            self.found.setdefault(what, Doubt(what, detail, kind))


def is_empty(value: object) -> bool:
    """Whether a value says nothing: null, zero, no text, nothing inside."""
    if isinstance(value, Mapping):
        return all(is_empty(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(is_empty(inner) for inner in value)
    return value in (None, 0, "", False) or value == "0"


def _short(value: object) -> str:
    return value[:60] if isinstance(value, str) else reprlib.repr(value)[:60]
