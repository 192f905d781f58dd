"""One usage block, from which figures are taken until nothing is left.

Invariant: a field that was not taken, is not empty and is not known to be free is reported as unread.
"""

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any, Final

from billing.usage.blocks.doubts import Doubts, is_empty
from billing.usage.blocks.free_fields import FREE_FIELDS
from billing.usage.blocks.merging import merged

LARGEST_COUNT: Final = 2**63 - 1  # what a column of the ledger takes
MOST_DEPTH: Final = 6
_FIGURE: Final = re.compile(r"\d{1,20}(?:\.0{1,9})?")


class Block:
    """One level of a usage block; `path` is how it is reached."""

    def __init__(self, values: Mapping[str, Any], doubts: Doubts, *, path: str = "usage") -> None:
        self._values, self._doubts, self._path = values, doubts, path
        self._taken: set[str] = set()
        self._parts: list[Block] = []

    def has_any(self, *names: str) -> bool:
        """Whether any of the names has a value."""
        return any(self._values.get(name) is not None for name in names)

    def mentions(self, word: str) -> bool:
        """Whether any of its names has the word in it."""
        return any(word in name for name in self._values)

    def count(self, *names: str) -> int:
        """The figure under any of the names, 0 if there is none; of several that differ, the largest."""
        if not self._values:
            return 0
        figures = [
            self._figure(name, value) for name in names if (value := self._values.get(name)) is not None
        ]
        if len(figures) > 1 and len({*figures} - {0}) > 1:
            self._doubts.contradicts(
                f"{self._path}: {' and '.join(names)} differ",
                f"{names[0]} is reported as {sorted({*figures})}",
            )
        return max(figures) if figures else 0

    def _figure(self, name: str, value: object) -> int:
        self._taken.add(name)
        figure = count_of(value)
        if figure is None:
            self._doubts.contradicts(
                f"{self._path}.{name} is no count", f"{name} is no count: {reprlib.repr(value)}"
            )
        return figure or 0

    def part(self, *names: str) -> "Block":
        """The block inside, under any of the names; an empty one if there is none."""
        inside: dict[str, Any] = {}
        for name in names:
            value = self._values.get(name)
            if value is not None and isinstance(value, Mapping):
                self._taken.add(name)
                inside = merged(inside, value)
        path = next((name for name in names if name in self._taken), names[0])
        block = Block(inside, self._doubts, path=f"{self._path}.{path}")
        if inside:
            self._parts.append(block)
        return block

    def take(self, *names: str) -> Any:
        """The value of the first name that has one, of any type; None if none has."""
        self._taken.update(names)
        return next((self._values[name] for name in names if not is_empty(self._values.get(name))), None)

    def names(self) -> list[str]:
        return list(self._values)

    def finish(self) -> None:
        """Report what was not taken, at this level and inside."""
        for name, value in self._values.items():
            if name not in self._taken and name not in FREE_FIELDS and not is_empty(value):
                self._report(f"{self._path}.{name}", value, depth=0)
        for part in self._parts:
            part.finish()

    def _report(self, path: str, value: Any, *, depth: int) -> None:
        if isinstance(value, Mapping) and depth < MOST_DEPTH:
            for name, inner in value.items():
                if not is_empty(inner):
                    self._report(f"{path}.{name}", inner, depth=depth + 1)
            return
        self._doubts.unread(path, value)
        figure = count_of(value)
        if figure and "token" in path.rpartition(".")[2].lower():
            self._doubts.unread_tokens += figure


def count_of(value: object) -> int | None:
    """A figure as a count, written as a number or as text; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if not _FIGURE.fullmatch(value.strip()):
            return None
        value = int(value.strip().partition(".")[0])
    elif isinstance(value, float):
        if not math.isfinite(value) or not value.is_integer():
            return None
        value = int(value)
    if not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        return None
    return value
