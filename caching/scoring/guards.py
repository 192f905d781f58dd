"""Rules that find, by the words, when two similar questions ask for different things.

Invariant: pure and symmetric. Equal texts get no flag. Every flag names one difference that changes an answer. For
English: an embedder puts "turn it on" close to "turn it off", and these rules separate them. A wrong flag costs a
miss, a missing flag costs a wrong answer. Therefore doubtful words count as a difference.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from caching.scoring.lexicon import (
    ANTONYMS,
    COMPARATORS,
    INSTRUCTIONS,
    NEGATORS,
    NUMBER_WORDS,
    QUESTION_TYPES,
    SCOPE_WORDS,
    SIMILAR_TYPES,
    STOP_WORDS,
    SYNONYMS,
    TIME_POINTS,
    TIME_UNITS,
    UNITS,
)
from config.remembered import remembered

LONGEST_KEPT_WORD = 40
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+(?:[.,]\d+)*(?:st|nd|rd|th)?|[%$€£¥<>=+]")
_NUMBER = re.compile(
    r"(?<![\w.-])\d+(?:[.,]\d+)*(?:\s?(?:k|m|bn))?(?=st\b|nd\b|rd\b|th\b|\W|$|[%])", re.IGNORECASE
)
_CODE = re.compile(
    r"`[^`]+`"
    r"|https?://\S+|(?<!\S)[^\s@]+@\S+\.\w+"
    r"|(?<!\w)#?(?=[\w-]*\d)(?=[\w-]*[^\W\d_])\w+(?:[-.]\w+)*"  # D-7781, gpt-4o, M80
    r"|\S{40,}"  # the embedder reads a very long word as an unknown one
    r"|\b\w+_\w+\b|\b\w+(?:\.\w+){2,}\b|(?<!\w)(?:/[\w.-]+){2,}|\b\w+\(\)",
)
_CLAUSE = re.compile(r"[.,;:!?()\[\]{}\"\n–—]+|\b(?:and|but|then|so|please|just|while|by)\b")
_BEFORE_NOON = re.compile(r" \d[\d.,]* (?:am|a m) ")
# Applied in this order: the more specific ones come first.
_CONTRACTIONS = (
    *(("can't", "can not"), ("cannot", "can not"), ("won't", "will not"), ("n't", " not"), ("i'm", "i am")),
    *(("'re ", " are "), ("'ve ", " have "), ("'ll ", " will "), ("'s ", " "), ("'", " ")),
)
_ORDINAL = re.compile(r"^\d+(?:st|nd|rd|th)$", re.IGNORECASE)
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^“”]+)”|«([^«»]+)»|(?<!\w)'([^']+)'(?!\w)|(?<!\w)‘([^‘’]+)’(?!\w)")
# Flags that always prevent a hit, regardless of what was learnt from a tenant's traffic.
VETOES = frozenset({"number", "code", "quote", "instruction", "addition"})
# In the order of `differences`.
FLAGS = (
    *("number", "code", "name", "quote", "negation", "antonym", "direction", "time", "comparator", "scope"),
    *("answer_type", "substitution", "instruction", "addition"),
)
# An attacker who plants an answer adds words to another user's question. Equal questions rarely differ by this much.
LARGE_ADDITION = 3
_SUFFIXES = ("ingly", "edly", "ings", "ing", "ies", "ied", "ed", "es", "ly", "s")
_PREFIXES = ("un", "in", "im", "dis", "de", "non", "ir", "mis")
_DIRECTIONS = frozenset(
    {"from", "to", "into", "than", "by", "before", "after", "versus", "vs", "against", "via"}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One question, parsed."""

    words: tuple[str, ...]  # lower case, contractions opened
    stems: frozenset[str]
    content: tuple[str, ...]  # stems in order, without stop words
    numbers: tuple[str, ...]
    units: frozenset[str]
    codes: frozenset[str]
    names: frozenset[str]
    quoted: tuple[str, ...]
    negations: int
    times: frozenset[str]
    time_units: frozenset[str]
    comparators: frozenset[str]
    scope: frozenset[str]
    slots: dict[str, frozenset[str]]
    answer_type: str
    # how to answer, not what: say something, ignore something, use a language or a format
    instructions: frozenset[str]


def differences(a: str, b: str) -> tuple[str, ...]:
    """Why the answer to one question may not serve the other: names of `FLAGS`; empty if there is no reason.

    About 0.1 ms for two short questions, less when one was read before.
    """
    left, right = read(a), read(b)
    if left.words == right.words and left.codes == right.codes:
        return ()
    differs = (
        left.numbers != right.numbers or _both_differ(left.units, right.units),
        left.codes != right.codes,
        _each_has_its_own(left.names, right.names, left.words, right.words),
        left.quoted != right.quoted,
        left.negations != right.negations,
        _are_opposed(left, right),
        _are_turned(left, right),
        left.times != right.times or _both_differ(left.time_units, right.time_units),
        left.comparators != right.comparators,
        left.scope != right.scope,
        _ask_for_different_things(left.answer_type, right.answer_type),
        _differ_in_one_word(left.content, right.content) or _exchange_one_word(left.words, right.words),
        left.instructions != right.instructions,
        says_more(a, b, by=LARGE_ADDITION),
    )
    return tuple(flag for flag, is_raised in zip(FLAGS, differs, strict=True) if is_raised)


def says_more(a: str, b: str, *, by: int = 1) -> bool:
    """Whether one question has all content words of the other, and at least `by` more, which may change the answer."""
    left, right = frozenset(read(a).content), frozenset(read(b).content)
    return (left < right or right < left) and abs(len(left) - len(right)) >= by


@remembered(most_characters=200_000)  # some 15 MB
def read(text: str) -> Reading:
    codes = frozenset(match.group().strip("`").lower() for match in _CODE.finditer(text))
    codes -= {code for code in codes if _ORDINAL.match(code)}
    words = _words(text)
    stems = tuple(_stem(word) for word in words)
    joined = f" {' '.join(words)} "
    return Reading(
        words=words,
        stems=frozenset(stems),
        content=tuple(filter(None, map(_content, words))),
        numbers=_numbers(text, words),
        units=frozenset(UNITS[word] for word in words if word in UNITS),
        codes=codes,
        names=_names(text),
        quoted=tuple(sorted(" ".join(filter(None, groups)).lower() for groups in _QUOTED.findall(text))),
        negations=sum(word in NEGATORS for word in words),
        times=_times(words, joined),
        time_units=frozenset(TIME_UNITS[word] for word in words if word in TIME_UNITS),
        comparators=frozenset(kind for pattern, kind in COMPARATORS if pattern.search(joined)),
        scope=frozenset(SCOPE_WORDS[word] for word in words if word in SCOPE_WORDS),
        slots=_slots(words),
        answer_type=next((kind for pattern, kind in QUESTION_TYPES if pattern.search(joined)), ""),
        instructions=_instructions(text),
    )


def _instructions(text: str) -> frozenset[str]:
    """The kinds of instruction in the text, clause by clause."""
    clauses = f"| {' '.join(_CLAUSE.sub(' | ', text.lower()).split())} |"
    return frozenset(kind for pattern, kind in INSTRUCTIONS if pattern.search(clauses))


def _words(text: str) -> tuple[str, ...]:
    lowered = text.lower().replace("’", "'")
    for written, meant in _CONTRACTIONS:
        lowered = lowered.replace(written, meant)
    return tuple(_WORD.findall(lowered))


def _stem(word: str) -> str:
    return _kept_stem(word) if len(word) <= LONGEST_KEPT_WORD else _stem_of(word)


def _stem_of(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            stem = word[: -len(suffix)]
            if suffix in ("ies", "ied"):
                return stem + "y"
            return stem[:-1] if suffix != "s" and len(stem) > 3 and stem[-1] == stem[-2] else stem.rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


_kept_stem = lru_cache(maxsize=32768)(_stem_of)


def _content(word: str) -> str:
    """The word's content: its stem, or the name of its synonym group; empty for a stop word."""
    stem = _stem(word)
    return "" if word in STOP_WORDS or stem in STOP_WORDS else SYNONYMS.get(stem, stem)


def _times(words: tuple[str, ...], joined: str) -> frozenset[str]:
    times = {TIME_POINTS[word] for word in words if word in TIME_POINTS}
    if _BEFORE_NOON.search(joined):
        times.add("am")
    return frozenset(times)


def _numbers(text: str, words: tuple[str, ...]) -> tuple[str, ...]:
    digits = [_plain(match.group()) for match in _NUMBER.finditer(text)]
    return tuple(sorted(digits + [NUMBER_WORDS[word] for word in words if word in NUMBER_WORDS]))


def _plain(number: str) -> str:
    """1,200.00 and 1200 are one number; so are 5k and 5000."""
    number = number.lower().replace(" ", "")
    factor = {"k": 1_000, "m": 1_000_000, "bn": 1_000_000_000}.get(number.lstrip("0123456789.,"), 1)
    digits = re.sub(r",(?=\d{3}(?:\D|$))", "", number.rstrip("kmbn")).replace(",", ".")
    try:
        return f"{float(digits) * factor:g}" if len(digits) < 12 else digits
    except ValueError:  # a version or an address: 1.2.3
        return digits


def _names(text: str) -> frozenset[str]:
    """Capitalised words that do not begin a sentence; none in a text that is mostly capitalised."""
    found = re.findall(r"(?<![.!?:]\s)(?<!^)(?<!\w)[A-Z][\w&-]*", text)
    words = text.split()
    if not words or sum(word[:1].isupper() for word in words) > 0.7 * len(words):
        return frozenset()
    return frozenset(name.lower() for name in found if name not in ("I", "A", "OK"))


def _slots(words: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """What follows each direction word, up to three words or the next direction word."""
    slots: dict[str, set[str]] = {}
    for index, word in enumerate(words):
        if word in _DIRECTIONS:
            slot = slots.setdefault(word, set())
            for follower in words[index + 1 : index + 4]:
                if follower in _DIRECTIONS:
                    break
                if follower not in STOP_WORDS:
                    slot.add(_stem(follower))
    return {word: frozenset(slot) for word, slot in slots.items() if slot}


def _both_differ(left: frozenset[str], right: frozenset[str]) -> bool:
    return bool(left and right and left != right)


def _each_has_its_own(
    left: frozenset[str], right: frozenset[str], left_words: tuple[str, ...], right_words: tuple[str, ...]
) -> bool:
    return bool(left - right - set(right_words)) and bool(right - left - set(left_words))


def _are_opposed(left: Reading, right: Reading) -> bool:
    only_left, only_right = left.stems - right.stems, right.stems - left.stems
    if not only_left or not only_right:
        return False
    if any(not only_right.isdisjoint(ANTONYMS.get(stem, ())) for stem in only_left):
        return True
    return any(
        f"{prefix}{one}" == other
        for prefix in _PREFIXES
        for ours, theirs in ((only_left, only_right), (only_right, only_left))
        for other in theirs
        if other.startswith(prefix) and (one := other[len(prefix) :]) in ours
    )


def _are_turned(left: Reading, right: Reading) -> bool:
    """The same words exchanged: "from A to B" and "from B to A", "A cites B" and "B cites A"."""
    for word in left.slots.keys() & right.slots.keys():
        ours, theirs = left.slots[word], right.slots[word]
        if ours.isdisjoint(theirs) and ours <= right.stems and theirs <= left.stems:
            return True
    moved = _exchanged(left.words, right.words)
    return len(moved) == 2 and moved[0] == moved[1][::-1]


def _ask_for_different_things(left: str, right: str) -> bool:
    return bool(left and right and left != right and frozenset((left, right)) not in SIMILAR_TYPES)


def _differ_in_one_word(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """One content word replaced, in an otherwise equal question of at least three content words."""
    return len(left) >= 3 and len(_exchanged(left, right)) == 1


def _exchange_one_word(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """One of at least four words is replaced by a word of other content. A stop word may replace a content word."""
    exchanged = _exchanged(left, right)
    return len(left) >= 4 and len(exchanged) == 1 and _content(exchanged[0][0]) != _content(exchanged[0][1])


def _exchanged(left: tuple[str, ...], right: tuple[str, ...]) -> list[tuple[str, str]]:
    """The pairs of words that differ at the same position; none if the lengths differ."""
    if len(left) != len(right):
        return []
    return [(ours, theirs) for ours, theirs in zip(left, right, strict=True) if ours != theirs]
