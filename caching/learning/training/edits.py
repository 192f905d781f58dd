"""Small changes to a question: those that need another answer, and those that do not.

Invariant: made by our own rules. The same random numbers give the same changes.
"""

import random
import re
from collections.abc import Callable

from caching.scoring.guards import read
from caching.scoring.lexicon import ANTONYMS

_AUXILIARY = re.compile(
    r"\b(is|are|was|were|do|does|did|can|should|may|has|have|how|who|which|what)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"\d")
_TIMES = ("today", "yesterday", "last week", "in 2019", "on Friday", "tomorrow", "next year", "this month")
_SCOPES = ("only", "except on weekends", "without a fee", "at least twice", "for the first time", "per month")
_NAMES = ('called "Alpha"', 'called "Omega"', "with id A-118", "with id A-181", "number 12", "number 21")
_POLITE = (
    "please, {}",
    "hi, {}",
    "{}, please",
    "can you help me: {}",
    "hello there, {}",
    "{} thanks",
    "quick question: {}",
)
_CONTRACTIONS = (
    ("what is", "what's"),
    ("i would", "i'd"),
    ("do not", "don't"),
    ("who is", "who's"),
    ("i am", "i'm"),
)


def change(text: str, draw: random.Random, words: list[str]) -> tuple[str, str, bool] | None:
    """A question, the same with a small change, and whether its answer still serves; None if no rule fits.

    The first may differ from the text: two names are each other's change.
    """
    rule, keeps_answer = draw.choice(_RULES)
    if rule is _two_names:
        one, other = draw.sample(_NAMES, 2)
        return f"{text} {one}", f"{text} {other}", False
    changed = rule(text, draw, words)
    return None if changed is None or changed == text else (text, changed, keeps_answer)


def _negated(text: str, _draw: random.Random, _words: list[str]) -> str | None:
    return _AUXILIARY.sub(r"\1 not", text, count=1)


def _opposite(text: str, draw: random.Random, _words: list[str]) -> str | None:
    known = [word for word in text.split() if word.lower() in ANTONYMS]
    if not known:
        return None
    word = draw.choice(known)
    return text.replace(word, draw.choice(sorted(ANTONYMS[word.lower()])), 1)


def _at_a_time(text: str, draw: random.Random, _words: list[str]) -> str | None:
    return f"{text.rstrip('?')} {draw.choice(_TIMES)}"


def _narrowed(text: str, draw: random.Random, _words: list[str]) -> str | None:
    return f"{text.rstrip('?')} {draw.choice(_SCOPES)}"


def _another_number(text: str, draw: random.Random, _words: list[str]) -> str | None:
    digits = [match.start() for match in _NUMBER.finditer(text)]
    if not digits:
        return None
    place = draw.choice(digits)
    return text[:place] + str((int(text[place]) + draw.randint(1, 8)) % 10) + text[place + 1 :]


def _another_word(text: str, draw: random.Random, words: list[str]) -> str | None:
    content = frozenset(read(text).content)
    places = [place for place, word in enumerate(text.split()) if content & frozenset(read(word).content)]
    if not places:
        return None
    parts = text.split()
    parts[draw.choice(places)] = draw.choice(words)
    return " ".join(parts)


def _turned(text: str, _draw: random.Random, _words: list[str]) -> str | None:
    return re.sub(r"\bfrom (\w+) to (\w+)", r"from \2 to \1", text)


def _two_names(text: str, _draw: random.Random, _words: list[str]) -> str | None:
    raise AssertionError("handled by `change`")


def _politely(text: str, draw: random.Random, _words: list[str]) -> str | None:
    return draw.choice(_POLITE).format(text[0].lower() + text[1:])


def _mistyped(text: str, draw: random.Random, _words: list[str]) -> str | None:
    words = text.split()
    long = [place for place, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    if not long:
        return None
    place = draw.choice(long)
    at = draw.randrange(1, len(words[place]) - 2)
    words[place] = words[place][:at] + words[place][at + 1] + words[place][at] + words[place][at + 2 :]
    return " ".join(words)


def _repunctuated(text: str, _draw: random.Random, _words: list[str]) -> str | None:
    return text.rstrip("?") if text.endswith("?") else f"{text}?"


def _contracted(text: str, _draw: random.Random, _words: list[str]) -> str | None:
    for long, short in _CONTRACTIONS:
        if long in text.lower():
            return re.sub(long, short, text, count=1, flags=re.IGNORECASE)
    return None


_Rule = Callable[[str, random.Random, list[str]], str | None]
_RULES: tuple[tuple[_Rule, bool], ...] = (
    *((rule, False) for rule in (_negated, _opposite, _at_a_time, _narrowed, _another_number)),
    *((rule, False) for rule in (_another_word, _another_word, _turned, _two_names)),
    *((rule, True) for rule in (_politely, _politely, _mistyped, _mistyped, _repunctuated, _contracted)),
)
