"""What a body refers to that a provider keeps in its account: items, files, vector stores, containers, recordings.

Invariant: pure and linear in the body; what a model or a tool wrote is data, and a name inside it refers to nothing.
Provider accounts are shared by tenants, so a client that knows another tenant's id could read its object.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

Body = dict[str, Any]

_ID_FIELDS: Final = frozenset({"file_id", "vector_store_id", "container_id"})
_ID_LISTS: Final = frozenset({"file_ids", "vector_store_ids"})
_NAMES: Final = _ID_FIELDS | {"container", "id", "skill_id"}  # whose texts are ids
_OBJECTS: Final = frozenset({"container", "audio", "voice"})  # of an id
# Items that are references by id where their content is missing.
_HELD_IN: Final = {
    "reasoning": "encrypted_content",
    "compaction": "encrypted_content",
    "image_generation_call": "result",
}
# Schemas, and what clients, models and tools wrote; in a request also what earlier answers said of their sources.
_DATA: Final = frozenset({"parameters", "input_schema", "schema", "arguments", "metadata", "action"})
_SAID_EARLIER: Final = frozenset({"annotations", "outputs", "results"})
_MADE: Final = ("output", "content", "container", "choices")  # where an answer holds what is new in it
MOST_IDS: Final = 500
LONGEST_ID: Final = 200


@dataclass(frozen=True, slots=True)
class Reference:
    """One id, and the path of the field that names it."""

    id: str
    param: str


def references_in(body: Body, *, at: str = "", without: str = "") -> tuple[Reference, ...]:
    """Every reference of a request's body but for those in one of its fields, or of the part of a body at that path; in no
    particular order, none twice."""
    if _names_nothing(body, without=without):
        return ()
    inside = {name: body[name] for name in body if name != without} if without else body
    found = _walk(inside, _DATA | _SAID_EARLIER, at=at)
    return tuple({reference.id: reference for reference in found}.values())


def ids_made_by(answer: Body, *, are_items_kept: bool) -> list[str]:
    """The ids of an answer that a later request may refer to: of its items if the provider keeps them, and of what its
    tools made. What the client sent and the provider repeats is not among them."""
    ids = [
        reference.id for reference in _walk({name: answer[name] for name in _MADE if name in answer}, _DATA)
    ]
    output = answer.get("output")
    if are_items_kept and isinstance(output, list):
        ids += [item["id"] for item in output if isinstance(item, dict) and _is_id(item.get("id"))]
    return [one for one in dict.fromkeys(ids) if len(one) <= LONGEST_ID][:MOST_IDS]


def _names_nothing(body: Body, *, without: str) -> bool:
    """Whether it is plain texts and figures under names that refer to nothing, as most turns are."""
    return not any(
        name in _NAMES or (isinstance(value, dict | list) and name != without) for name, value in body.items()
    )


def _walk(body: Body, data: frozenset[str], *, at: str = "") -> Iterator[Reference]:
    waiting: list[tuple[str, Any]] = [(at, body)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, list):
            waiting += [
                (f"{path}.{index}", item) for index, item in enumerate(value) if isinstance(item, dict | list)
            ]
            continue
        yield from _of_item(path, value)
        for name, inner in value.items():
            place = f"{path}.{name}".lstrip(".")
            if _is_id(inner) and (name in _ID_FIELDS or name == "container"):
                yield Reference(inner, place)
            elif isinstance(inner, list) and name in _ID_LISTS:
                yield from (
                    Reference(one, f"{place}.{index}") for index, one in enumerate(inner) if _is_id(one)
                )
            elif isinstance(inner, dict) and name in _OBJECTS and _is_id(inner.get("id")):
                yield Reference(inner["id"], f"{place}.id")
            if name in data or (name == "input" and not isinstance(inner, list)):
                continue  # the input of a tool, which a model wrote
            if isinstance(inner, dict | list):
                waiting.append((place, inner))


def _of_item(path: str, item: Body) -> Iterator[Reference]:
    """An item of a Responses input that refers to one that the provider keeps, and a skill of the account's own."""
    kind, item_id, skill = item.get("type"), item.get("id"), item.get("skill_id")
    if kind == "custom" and _is_id(skill):
        yield Reference(skill, f"{path}.skill_id")
    if not _is_id(item_id) or not path.startswith("input."):
        return
    is_bare = kind is None and "role" not in item and "content" not in item
    if (
        kind == "item_reference"
        or is_bare
        or (isinstance(kind, str) and kind in _HELD_IN and not item.get(_HELD_IN[kind]))
    ):
        yield Reference(item_id, f"{path}.id")


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""
