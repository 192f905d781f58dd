"""Texts made from a pattern's own parts, to make a backtracking matcher work as hard as it can.

A pattern is costly where it begins often and fails late. So each text repeats what some part of the pattern likes (its
beginning, one round of a repetition, all but its end) and then stops short of a match.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from re import _constants as sre, _parser as sre_parser  # type: ignore[attr-defined]  # isort: skip

CATEGORIES = {
    sre.CATEGORY_DIGIT: "1",
    sre.CATEGORY_NOT_DIGIT: "a",
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_NOT_SPACE: "a",
    sre.CATEGORY_WORD: "a",
    sre.CATEGORY_NOT_WORD: "-",
}
CANDIDATES = "a1 -\n\t.,;:!?'\"“”‘’«»`~<>{}[]()/\\|@#$%&*+=^_AzZ0é€"
MISMATCHES = ("", "\x00")
BETWEEN = ("", " ", "\n")
MOST_PARTS = 20
GENERAL = (
    "a",
    "1",
    " ",
    "\n",
    "aA1 ",
    "\t \n",
    "a ",
    "1,",
    "``",
    '"',
    "<a>",
    "{[",
    "\\",
    "'a",
    "ü",
    "a\n",
    '\\"',
    '"\\',
    "a@",
    "a(",
    "a-",
    "a_",
    "a.",
    "-",
    "- ",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A text of any length: a head, so many rounds of the pump, and a tail that spoils the match."""

    head: str
    pump: str
    tail: str

    def text(self, length: int) -> str:
        return self.head + self.pump * max(1, length // len(self.pump)) + self.tail


def plans_against(pattern: "re.Pattern[Any]") -> list[Plan]:
    """Each adversarial text that the pattern's parts suggest, once."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = sre_parser.parse(source, pattern.flags & ~re.UNICODE & ~re.DEBUG)
    heads, rounds = _beginnings(tree), _rounds(tree)
    plans = [
        Plan("", pump + between, tail)
        for pump in (*GENERAL, *heads, *rounds)
        for between in BETWEEN
        for tail in MISMATCHES
    ]
    plans += [Plan("a", pump, "a") for pump in (*GENERAL, *heads, *rounds)]
    for head in heads:
        plans += [Plan(head, pump, "\x00") for pump in (*rounds, "a", " ", "a ")]
        plans += [Plan("", head + pump * 8, "\x00") for pump in (*rounds, "a", " ")]
    return list(dict.fromkeys(plan for plan in plans if plan.pump))


def _beginnings(tree: Any) -> list[str]:
    """What the pattern matches up to each of its parts, for each alternative."""
    found: list[str] = []
    for nodes in _sequences(tree):
        text = ""
        for node in nodes:
            found.append(text)
            text += _sample(node)
        found += [text, text[:-1]]
    return [text for text in dict.fromkeys(found) if text][:MOST_PARTS]


def _sequences(tree: Any) -> Iterator[list[Any]]:
    """Each sequence of nodes in the tree, the inner ones too."""
    yield list(tree)
    for operation, argument in tree:
        for inner in _children(operation, argument):
            yield from _sequences(inner)


def _rounds(tree: Any) -> list[str]:
    """One round of each repetition, and each literal word."""
    found: list[str] = []
    for nodes in _sequences(tree):
        for operation, argument in nodes:
            if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
                found.append("".join(map(_sample, argument[2])))
            elif operation is sre.IN:
                found.append(_sample((operation, argument)))
    return [text for text in dict.fromkeys(found) if text][:MOST_PARTS]


def _children(operation: Any, argument: Any) -> list[Any]:
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return [argument[2]]
    if operation is sre.SUBPATTERN:
        return [argument[3]]
    if operation is sre.ATOMIC_GROUP:
        return [argument]
    if operation is sre.BRANCH:
        return list(argument[1])
    if operation in (sre.ASSERT, sre.ASSERT_NOT):
        return [argument[1]]
    return []


def _sample(node: Any) -> str:
    """A short text that this part of a pattern matches."""
    operation, argument = node
    if operation is sre.LITERAL:
        return chr(argument)
    if operation is sre.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if operation is sre.ANY:
        return "a"
    if operation is sre.IN:
        return next((one for one in CANDIDATES if _is_in(argument, one)), _first_of(argument))
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return "".join(map(_sample, argument[2])) * max(1, min(argument[0], 8))
    if operation is sre.SUBPATTERN:
        return "".join(map(_sample, argument[3]))
    if operation is sre.ATOMIC_GROUP:
        return "".join(map(_sample, argument))
    if operation is sre.BRANCH:
        return "".join(map(_sample, argument[1][0]))
    return ""


def _is_in(members: Any, character: str) -> bool:
    is_negated = bool(members) and members[0][0] is sre.NEGATE
    code = ord(character)
    is_member = any(
        (operation is sre.LITERAL and argument == code)
        or (operation is sre.RANGE and argument[0] <= code <= argument[1])
        or (operation is sre.CATEGORY and _has_category(argument, character))
        for operation, argument in members
    )
    return is_member != is_negated


def _has_category(category: Any, character: str) -> bool:
    if category in (sre.CATEGORY_DIGIT, sre.CATEGORY_NOT_DIGIT):
        return character.isdigit() == (category is sre.CATEGORY_DIGIT)
    if category in (sre.CATEGORY_SPACE, sre.CATEGORY_NOT_SPACE):
        return character.isspace() == (category is sre.CATEGORY_SPACE)
    is_word = character.isalnum() or character == "_"
    return is_word == (category is sre.CATEGORY_WORD)


def _first_of(members: Any) -> str:
    for operation, argument in members:
        if operation is sre.LITERAL:
            return chr(argument)
        if operation is sre.RANGE:
            return chr(argument[0])
        if operation is sre.CATEGORY:
            return CATEGORIES[argument]
    return chr(sys.maxunicode)
