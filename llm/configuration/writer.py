"""Writing one object of a configuration file: compare, save with its history, say what changed.

Invariant: a row that already is as the file says is not touched, so applying a file twice writes nothing;
what the database or a model's validation refuses is an error that names its line.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.utils import DatabaseError

from billing.contracts.agreeing import propose
from billing.four_eyes import NeedsAnother
from llm.configuration.changes import Action, Changes, FieldChange, shown
from llm.configuration.document import Document, Path
from tenants.people.authors import record_author

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Writer:
    """The file, where its changes are noted, and who applies it."""

    document: Document
    changes: Changes
    acting_user: User | None

    @property
    def reason(self) -> str:
        return f"applied {self.changes.source}"

    def write(
        self,
        row: Row,
        values: Mapping[str, Any],
        *,
        written: Collection[str],
        kind: str,
        name: str,
        path: Path,
        words: Mapping[str, str] | None = None,
        secrets: Collection[str] = (),
        checked: Collection[str] = (),
    ) -> Row:
        """Bring a row, new or stored, to these values, by the model's field names.

        Of a stored row only the fields `written` in the file change; `words` gives the file's word for a
        field where it has another one. Values of `secrets` are not shown; fields that were `checked` before
        are spared the model's own validation.
        """
        words = words or {}
        is_new = row.pk is None
        differing = [
            field
            for field, value in values.items()
            if is_new or (words.get(field, field) in written and getattr(row, field) != value)
        ]
        fields: list[FieldChange] = []
        for field in differing:
            word = words.get(field, field)
            old, new = (
                ("", "") if field in secrets else (shown(getattr(row, field, None)), shown(values[field]))
            )
            fields.append(FieldChange(word, old, new))
            setattr(row, field, values[field])
        if differing:
            with self.refusals(path, words=words):
                row.full_clean(exclude=checked)
                record_author(row, acting_user=self.acting_user, reason=self.reason)
                row.save(update_fields=None if is_new else differing)
        action: Action = "created" if is_new else "updated" if differing else "unchanged"
        self.changes.add(kind, name, action, () if is_new else tuple(fields))
        return row

    @contextmanager
    def agreements(self, kind: str, name: str) -> Iterator[list[str]]:
        """Propose what is written within, where another person has to approve it; the list that it gives has then what was
        said of that. A proposal that waits already is not made again."""
        said: list[str] = []
        try:
            with transaction.atomic():
                yield said
        except NeedsAnother as needed:
            proposal = propose(needed, acting_user=self.acting_user)
            said.append(f"{kind} {name} waits until another person approves it: {proposal}")
            self.changes.warnings.append(said[0])

    @contextmanager
    def refusals(self, path: Path, *, words: Mapping[str, str] | None = None) -> Iterator[None]:
        """Turn what is refused within into an error at a path of the file."""
        try:
            with transaction.atomic():
                yield
        except NeedsAnother:
            raise
        except ValidationError as error:
            by_field = error.message_dict if hasattr(error, "error_dict") else {"__all__": error.messages}
            field, messages = next(iter(by_field.items()))
            word = (words or {}).get(field, field)
            where = path if field == "__all__" else (*path, word)
            raise self.document.error(where, messages[0]) from None
        except DatabaseError as error:
            raise self.document.error(path, str(error).strip().splitlines()[0]) from None
