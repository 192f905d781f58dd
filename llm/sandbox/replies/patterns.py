"""Owns strings that match a regular expression of a JSON schema.

Invariant: a string returned was checked against the expression.
"""

import functools
import re
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

CATEGORIES = {
    ops.CATEGORY_DIGIT: "1",
    ops.CATEGORY_WORD: "a",
    ops.CATEGORY_SPACE: " ",
    ops.CATEGORY_NOT_DIGIT: "a",
    ops.CATEGORY_NOT_WORD: "-",
    ops.CATEGORY_NOT_SPACE: "a",
}
PRINTABLE = [chr(code) for code in range(33, 127)]


class UnsupportedPattern(ValueError):
    """The expression needs something this module does not do, such as look-around."""


@functools.lru_cache(maxsize=1_024)
def string_for(pattern: str) -> str:
    """A short string that matches; raises UnsupportedPattern."""
    try:
        text = _sequence(parser.parse(pattern), {})
        if re.search(pattern, text):
            return text
    except (re.error, KeyError, RecursionError) as error:
        raise UnsupportedPattern(pattern) from error
    raise UnsupportedPattern(pattern)


def _sequence(items: Any, groups: dict[int, str]) -> str:
    return "".join(_item(operator, argument, groups) for operator, argument in items)


def _item(operator: Any, argument: Any, groups: dict[int, str]) -> str:
    if operator is ops.LITERAL:
        return chr(argument)
    if operator is ops.NOT_LITERAL:
        return next(char for char in "a1-" if ord(char) != argument)
    if operator is ops.ANY:
        return "a"
    if operator is ops.IN:
        return _one_of(argument)
    if operator in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
        least, most, inner = argument
        return "".join(_sequence(inner, groups) for _ in range(max(least, min(1, most))))
    if operator is ops.SUBPATTERN:
        number, _, _, inner = argument
        groups[number] = _sequence(inner, groups)
        return groups[number]
    if operator is ops.BRANCH:
        return _sequence(argument[1][0], groups)
    if operator is ops.GROUPREF:
        return groups[argument]
    return ""


def _one_of(members: Any) -> str:
    if members[0][0] is not ops.NEGATE:
        operator, argument = members[0]
        return (
            CATEGORIES[argument]
            if operator is ops.CATEGORY
            else chr(argument[0] if operator is ops.RANGE else argument)
        )
    return next(char for char in PRINTABLE if not any(_contains(member, char) for member in members[1:]))


def _contains(member: Any, char: str) -> bool:
    operator, argument = member
    if operator is ops.LITERAL:
        return bool(ord(char) == argument)
    if operator is ops.RANGE:
        return bool(argument[0] <= ord(char) <= argument[1])
    return char.isdigit() if argument is ops.CATEGORY_DIGIT else char.isalnum() or char == "_"
