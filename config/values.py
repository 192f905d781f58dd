"""Value types: what is made for every call, and never changed.

Invariant: a field is set once, by the constructor; mypy sees to that. A frozen dataclass sees to it at run time, and takes up to
six times as long to make. Equality, hash and `dataclasses.replace` are those of a frozen dataclass.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_type(cls: type[T]) -> type[T]:
    """A dataclass with slots that is compared and hashed by its fields, and not changed."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
