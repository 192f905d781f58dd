"""Every field of a policy by its path, with its type and default, and the change of some of them in a stored policy.

Invariant: read from the types of `tenants.policy`, so a field that is added there is here at once. A change touches only the
paths it names: what is stored beside them stays as it is.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from tenants.policy import Policy, PressureRule

Path = tuple[str, ...]
Kind = Literal[
    "switch", "choice", "choices", "whole", "number", "text", "lines", "pressure", "shares", "tags", "teams"
]
_BOUNDS: Final = {"ge": "least", "gt": "above", "le": "most", "lt": "below"}


@dataclass(frozen=True)
class PolicyField:
    """One field. `bounds` are of numbers: least, most, above, below."""

    path: Path
    kind: Kind
    default: Any
    choices: tuple[str, ...] = ()
    bounds: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """The path as a form's field is called: "cache__exact"."""
        return "__".join(self.path)


@cache
def policy_fields() -> dict[Path, PolicyField]:
    """All fields that a form can show, in the order of the policy. A type that is not known here is left to the JSON."""
    return {one.path: one for one in _walk(Policy(), ())}


def value_at(policy: Policy, path: Path) -> Any:
    """The value that is in force, as it would be stored."""
    value: Any = policy
    for step in path:
        value = getattr(value, step)
    return as_stored(value)


def as_stored(value: Any) -> Any:
    """A value of a policy as JSON has it."""
    if is_dataclass(value):
        stored = {one.name: as_stored(getattr(value, one.name)) for one in fields(value)}
        return {name: item for name, item in stored.items() if item not in (None, False)}
    if isinstance(value, tuple):
        return [as_stored(item) for item in value]
    if isinstance(value, Mapping):
        return {name: as_stored(item) for name, item in value.items()}
    return value


def changed(stored: Mapping[str, Any] | None, changes: Mapping[Path, Any]) -> dict[str, Any]:
    """A stored policy with some fields changed. A field that gets its default is left out, as if nobody had set it."""
    policy = deepcopy(dict(stored or {}))
    known = policy_fields()
    for path, value in changes.items():
        if value == known[path].default:
            _remove(policy, path)
        else:
            _set(policy, path, value)
    return policy


def _set(policy: dict[str, Any], path: Path, value: Any) -> None:
    for step in path[:-1]:
        if not isinstance(policy.get(step), dict):
            policy[step] = {}
        policy = policy[step]
    policy[path[-1]] = value


def _remove(policy: dict[str, Any], path: Path) -> None:
    parents = [policy]
    for step in path[:-1]:
        if not isinstance(parents[-1].get(step), dict):
            return
        parents.append(parents[-1][step])
    parents[-1].pop(path[-1], None)
    for parent, step in reversed(list(zip(parents, path[:-1], strict=False))):
        if not parent[step]:
            del parent[step]


def _walk(part: Any, above: Path) -> Iterator[PolicyField]:
    for name, info in type(part).__pydantic_fields__.items():
        value, path = getattr(part, name), (*above, name)
        if hasattr(type(value), "__pydantic_fields__"):
            yield from _walk(value, path)
            continue
        kind, choices = _kind(info.annotation)
        if kind is not None:
            yield PolicyField(path, kind, as_stored(value), choices, _bounds(info.metadata))


def _kind(annotation: Any) -> tuple[Kind | None, tuple[str, ...]]:
    inner = _without_none(annotation)
    origin, arguments = get_origin(inner), get_args(inner)
    if inner is bool:
        return "switch", ()
    if origin is Literal:
        return "choice", arguments
    if origin is tuple:
        of = _without_none(arguments[0])
        if of is PressureRule:
            return "pressure", ()
        return ("choices", get_args(of)) if get_origin(of) is Literal else ("lines", ())
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _kind_of_mapping(_without_none(arguments[1])), ()
    if inner is int:
        return "whole", ()
    if inner is float or inner == int | float:
        return "number", ()
    return ("text", ()) if inner is str else (None, ())


def _kind_of_mapping(values: Any) -> Kind | None:
    if values == int | float:
        return "shares"
    if _bare(values) is str:
        return "tags"
    origin = get_origin(values)
    return "teams" if isinstance(origin, type) and issubclass(origin, Mapping) else None


def _without_none(annotation: Any) -> Any:
    annotation = _bare(annotation)
    if get_origin(annotation) in (Union, UnionType):
        rest = tuple(one for one in get_args(annotation) if one is not NoneType)
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _bare(annotation: Any) -> Any:
    """A type without what it is annotated with."""
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def _bounds(metadata: list[Any]) -> tuple[tuple[str, float], ...]:
    return tuple(
        (name, getattr(one, sign)) for one in metadata for sign, name in _BOUNDS.items() if hasattr(one, sign)
    )
