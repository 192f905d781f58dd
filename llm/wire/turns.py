"""Reads the turns of a request, each of them once, for all who want to know something of them.

Invariant: pure, linear in the text; a body is never edited in place.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from llm.wire.asks import Asks
from llm.wire.references import Reference, references_in
from llm.wire.texts import fields

_FILE_PARTS: Final = frozenset({"file", "input_file", "document", "container_upload", "input_audio"})


@dataclass(slots=True)
class Turns:
    """What the turns say that were read so far."""

    name: str  # the field that they are in
    texts: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    last_user_text: str = ""
    count: int = 0
    types: set[str] = field(default_factory=set)  # of their parts
    asks: Asks = field(default_factory=Asks)
    _references: list[Reference] = field(default_factory=list)

    def read(self, turn: dict[str, Any], content: Any, *, system_roles: tuple[str, ...]) -> None:
        """Read one more turn; its texts are in `content`."""
        found = list(fields.part_texts(content))
        self.texts += found
        if turn.get("role") in system_roles:
            self.system += found
        elif turn.get("role") == "user":
            self.last_user_text = "\n".join(found)
        self.types |= fields.part_types(turn.get("content"))
        self.asks = self.asks.with_turn(turn)
        self._references += references_in(turn, at=f"{self.name}.{self.count}")
        self.count += 1

    def has(self, types: Iterable[str]) -> bool:
        """Whether there is a part of one of these types."""
        return not self.types.isdisjoint(types)

    @property
    def has_files(self) -> bool:
        return self.has(_FILE_PARTS)

    def references(self, body: dict[str, Any]) -> tuple[Reference, ...]:
        """Every reference of the turns, and of the rest of their body; none twice."""
        found = [*references_in(body, without=self.name), *self._references]
        if not found:
            return ()
        return tuple({reference.id: reference for reference in found}.values())
