"""Whether a text is JSON that fits a schema.

Invariant: the schema and the text are untrusted: nothing is fetched for a reference, no pattern runs for long, and the
work is bounded. What cannot be checked within these bounds is reported as unchecked, never as valid. Call it in a thread.
"""

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final

import orjson
import regex
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from config.remembered import remembered

LARGEST_SCHEMA_BYTES: Final = 100_000
LARGEST_TEXT_CHARACTERS: Final = 500_000
MOST_STEPS: Final = 50_000
PATTERN_SECONDS: Final = 0.02
PATTERNS_SECONDS: Final = 0.2  # all patterns of a schema together
TOLD_ERRORS: Final = 3
LONGEST_TOLD: Final = 300

_steps: ContextVar[list[int]] = ContextVar("steps")
_pattern_seconds: ContextVar[list[float]] = ContextVar("pattern_seconds")  # that are left
Keyword = Callable[[Any, Any, Any, Any], Any]


class Unchecked(Exception):
    """It cannot be said whether the text fits; the message says why."""


class Problem(str):
    """What is wrong, in words for the model. `place` says where without a word of the answer: for receipts."""

    place: str

    @classmethod
    def of(cls, text: str, place: str) -> "Problem":
        problem = cls(text)
        problem.place = place
        return problem


def problem_with(text: str, schema: dict[str, Any]) -> Problem | None:
    """What is wrong with the text; None if it fits. Raises Unchecked."""
    if len(text) > LARGEST_TEXT_CHARACTERS:
        raise Unchecked("the answer is too large to be checked")
    validator = _validator(_as_bytes(schema))
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Problem.of(f"It is not JSON: {error}", "not JSON")
    _steps.set([0])
    _pattern_seconds.set([PATTERNS_SECONDS])
    try:
        errors = list(islice(validator.iter_errors(value), TOLD_ERRORS))
    except (Unresolvable, RecursionError) as error:
        raise Unchecked(f"a reference of the schema leads nowhere ({type(error).__name__})") from None
    if not errors:
        return None
    text = "; ".join(f"{error.json_path}: {error.message[:LONGEST_TOLD]}" for error in errors)
    return Problem.of(text, "; ".join(f"{error.json_path}: {error.validator}" for error in errors))


def _as_bytes(schema: dict[str, Any]) -> bytes:
    encoded = orjson.dumps(schema)
    if len(encoded) > LARGEST_SCHEMA_BYTES:
        raise Unchecked("the schema is too large to be checked")
    return encoded


@remembered(most_characters=1_000_000)
def _validator(encoded: bytes) -> Validator:
    if b'"patternProperties"' in encoded:
        raise Unchecked("patternProperties are not checked")
    schema = orjson.loads(encoded)
    _steps.set([0])
    _pattern_seconds.set([PATTERNS_SECONDS])
    try:
        _Bounded.check_schema(schema)
    except (SchemaError, RecursionError):
        raise Unchecked("the schema is not valid itself") from None
    return _Bounded(schema, registry=Registry())  # an empty one: nothing is fetched


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    left = _pattern_seconds.get()
    began = time.monotonic()
    try:
        is_there = regex.search(pattern, instance, timeout=PATTERN_SECONDS)
    except (TimeoutError, regex.error):
        raise Unchecked("a pattern of the schema cannot be checked") from None
    left[0] -= time.monotonic() - began
    if left[0] < 0:
        raise Unchecked("the patterns of the schema take too long")
    if not is_there:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique_items(validator: Any, is_wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if is_wanted and isinstance(instance, list):
        seen = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(seen) < len(instance):
            yield ValidationError("the array has equal elements")


def _counted(keyword: Keyword) -> Keyword:
    """The keyword, each use of which is a step of the bounded work."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        steps = _steps.get()
        steps[0] += 1
        if steps[0] > MOST_STEPS:
            raise Unchecked("the check takes too long")
        return keyword(validator, value, instance, schema)

    return check


_Bounded: Final = extend(
    Draft202012Validator,
    {
        name: _counted(keyword)
        for name, keyword in {
            **Draft202012Validator.VALIDATORS,
            "pattern": _pattern,
            "uniqueItems": _unique_items,
        }.items()
    },
)
