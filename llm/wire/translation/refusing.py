"""Walks the fields of a request that is translated, so that none is dropped silently.

Invariant: a field is taken, harmless at its given value, dropped as a hint with a note in the receipt, or refused by name.
"""

from collections.abc import Iterable
from typing import Any

from llm.wire.formats import Body
from llm.wire.untranslatable import Untranslatable


class Reader:
    """The fields of one object; `done` refuses those that were not taken."""

    def __init__(self, body: Body, *, target: str, at: str = "", let_go: list[str] | None = None) -> None:
        self._rest = {name: value for name, value in body.items() if value is not None}
        self._target = target
        self._at = at
        self._let_go = [] if let_go is None else let_go

    def take(self, name: str, default: Any = None) -> Any:
        return self._rest.pop(name, default)

    def peek(self, name: str) -> Any:
        return self._rest.get(name)

    def has(self, name: str) -> bool:
        return name in self._rest

    def ignore(self, *names: str) -> None:
        """Let go of fields that change nothing for the answer."""
        for name in names:
            self._rest.pop(name, None)

    def let_go(self, *names: str, harmless: Any = None) -> None:
        """Let go of hints: without them the answer is as right. Those that say more than `harmless` are named."""
        for name in names:
            if self._rest.pop(name, None) not in (None, harmless):
                self.note_let_go(name)

    def note_let_go(self, name: str) -> None:
        """Name what was let go."""
        self._let_go.append(".".join(filter(None, (self._at, name))))

    def allow(self, name: str, *harmless: Any) -> None:
        """Let go of a field that has one of these values; any other is refused."""
        if name in self._rest and self._rest.pop(name) not in harmless:
            raise self.refusal(name)

    def pass_on(self, names: Iterable[str]) -> Body:
        """Take fields that the target's own protocol knows under the same name."""
        return {name: self._rest.pop(name) for name in names if name in self._rest}

    def refusal(self, name: str = "") -> Untranslatable:
        return Untranslatable(".".join(filter(None, (self._at, name))), target=self._target)

    def inside(self, body: Any, *path: str | int) -> "Reader":
        """A reader of an object inside this one; what is no object is refused by its place."""
        at = ".".join(filter(None, (self._at, *map(str, path))))
        if not isinstance(body, dict):
            raise Untranslatable(at, target=self._target)
        return Reader(body, target=self._target, at=at, let_go=self._let_go)

    def done(self) -> None:
        """Refuse the first field that was not taken."""
        for name in self._rest:
            raise self.refusal(name)
