"""Reads the fields of a request body, or says which one is wrong.

Invariant: only what the gateway itself relies on is checked; everything else is the provider's to judge.
"""

from collections.abc import Iterator
from typing import Any, Final

from llm.errors import InvalidRequest
from llm.wire.people import Named, named_in

LARGEST: Final = 2**31 - 1
MOST_ANSWERS: Final = 128
MOST_TOP_LOGPROBS: Final = 20


def model_of(body: dict[str, Any]) -> str:
    """The model asked for, or InvalidRequest."""
    model = body.get("model")
    if not isinstance(model, str) or not model or "\x00" in model:
        raise InvalidRequest("Field 'model' must name a model.", param="model")
    return model


def positive_int(body: dict[str, Any], name: str) -> int | None:
    """A whole number from 1 that the ledger can multiply, or None when absent; InvalidRequest for anything else."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
        raise InvalidRequest(f"Field '{name}' must be a whole number from 1 to {LARGEST}.", param=name)
    return value


def at_most(body: dict[str, Any], name: str, most: int) -> None:
    """Raise InvalidRequest, in the provider's words, for a whole number above the provider's maximum."""
    value = body.get(name)
    if isinstance(value, int) and value > most:
        raise InvalidRequest(
            f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead.",
            param=name,
        )


def positive_int_up_to(body: dict[str, Any], name: str, most: int) -> int | None:
    """A whole number from 1 to a maximum that the provider has, or None when absent; InvalidRequest for anything else."""
    value = positive_int(body, name)
    at_most(body, name, most)
    return value


def limit(body: dict[str, Any], name: str) -> int | None:
    """A whole number from 1, or None when absent or 0, which limits nothing; InvalidRequest for anything else."""
    return None if body.get(name) == 0 else positive_int(body, name)


def number(body: dict[str, Any], name: str) -> float | None:
    """A number, or None when absent; InvalidRequest for anything else."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(f"Field '{name}' must be a number.", param=name)
    return float(value)


def flag(body: dict[str, Any], name: str) -> bool:
    """A boolean, False when absent; InvalidRequest for anything else."""
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequest(f"Field '{name}' must be true or false.", param=name)
    return value


def each_object(body: dict[str, Any], name: str, *, required: bool = False) -> Iterator[dict[str, Any]]:
    """The objects of a list, none when absent and not required; InvalidRequest for anything else, at the latest when it is
    its turn."""
    value = body.get(name)
    if value is None and not required:
        return
    if not isinstance(value, list) or (required and not value):
        raise InvalidRequest(f"Field '{name}' must be a list of objects.", param=name)
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise InvalidRequest(f"Field '{name}[{index}]' must be an object.", param=f"{name}[{index}]")
        yield item


def objects(body: dict[str, Any], name: str, *, required: bool = False) -> list[dict[str, Any]]:
    """The same, as a list."""
    return list(each_object(body, name, required=required))


def text(body: dict[str, Any], name: str) -> str:
    """A string, empty when absent or of another type."""
    value = body.get(name)
    return value if isinstance(value, str) else ""


def whose(body: Any, *names: str) -> Named:
    """The end user, and the session, that the first of these fields names; none where there is no such object."""
    if not isinstance(body, dict):
        return Named()
    named = next((body[name] for name in names if isinstance(body.get(name), str) and body[name]), "")
    found = named_in(named)
    # JSON inside the text may have one that the text itself has not
    if any("\x00" in part for part in (named, found.person, found.session)):
        raise InvalidRequest(f"Field '{names[0]}' has a NUL character.", param=names[0])
    return found


def part_texts(content: Any) -> Iterator[str]:
    """The texts of a message's content in any of the protocols, those inside tool results too."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, dict):
                if isinstance(part.get("text"), str):
                    yield part["text"]
                elif "content" in part:
                    yield from part_texts(part["content"])


def part_types(content: Any) -> set[str]:
    """The types of a content's parts, and of those inside tool results."""
    if not isinstance(content, list):
        return set()
    types: set[str] = set()
    for part in content:
        if isinstance(part, dict):
            types |= {str(part.get("type")), *part_types(part.get("content"))}
    return types


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """The body without these fields; the same object when it has none of them."""
    if not any(name in body for name in names):
        return body
    return {key: value for key, value in body.items() if key not in names}


def replaced(body: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The body with this field set; the same object when it already is."""
    if name in body and body[name] == value and type(body[name]) is type(value):
        return body
    return {**body, name: value}
