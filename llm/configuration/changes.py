"""The changes that applying a configuration file made, or would make.

Invariant: a change never contains a secret; a generated key is in `issued` only, which is printed once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

Action = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field's former and new value, as text; of a secret only that it changed."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.name}: {self.old} -> {self.new}" if self.old or self.new else f"{self.name}: changed"


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one object: `kind` is its sort ("provider"), `name` finds it ("acme/ci")."""

    kind: str
    name: str
    action: Action
    fields: tuple[FieldChange, ...] = ()

    def __str__(self) -> str:
        details = f" ({', '.join(str(changed) for changed in self.fields)})" if self.fields else ""
        return f"{self.action:9} {self.kind} {self.name}{details}"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was generated: the only time its clear text is seen."""

    tenant: str
    name: str
    clear: str = field(repr=False)


@dataclass(slots=True)
class Changes:
    """All that one file changed, in the file's order."""

    source: str
    is_dry_run: bool = False
    changes: list[Change] = field(default_factory=list)
    issued: list[IssuedKey] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str, action: Action, fields: tuple[FieldChange, ...] = ()) -> None:
        self.changes.append(Change(kind, name, action, fields))

    def of(self, action: Action) -> list[Change]:
        return [change for change in self.changes if change.action == action]

    @property
    def is_empty(self) -> bool:
        """Whether the database already was as the file says."""
        return all(change.action == "unchanged" for change in self.changes)

    def lines(self) -> Iterator[str]:
        """The changes as people read them; what is unchanged is only counted."""
        for change in self.changes:
            if change.action != "unchanged":
                yield str(change)
        counts = ", ".join(
            f"{len(self.of(action))} {action}" for action in ("created", "updated", "unchanged")
        )
        yield f"{self.source}: {counts}{' (dry run, nothing is changed)' if self.is_dry_run else ''}"
        yield from (f"warning: {warning}" for warning in self.warnings)
        for key in self.issued:
            yield f"key {key.tenant}/{key.name}, shown this once: {key.clear}"


def shown(value: Any) -> str:
    """A value as a change shows it."""
    if value is None or value == "":
        return "none"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M %Z}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value)
