"""Signals of a request's difficulty: plain counts over its text, each with a name that people
understand.

Invariant: the score is a weighted mean of these signals with weights fixed a priori, never fitted to a
benchmark; the scales (mean and spread of each signal) come from 22,000 public questions and only make the
signals comparable.
"""

import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from config.values import value_type

LONGEST_TEXT_READ: Final = 2_000  # characters; of a longer text the head and the tail are read

_WORD = re.compile(r"[^\W\d_][^\W_]*(?:['’-][^\W_]+)*")
_NUMBER = re.compile(r"\d[\d,.]*")
_CODE_BLOCK = re.compile(r"```|^\s{4}\S|[{};]\s*$|\b\w+\([^()]*\)\s*[:{;]|</?[a-z][a-z0-9]*>", re.MULTILINE)
_MATHS_SYMBOL = re.compile(r"[=+*/^<>≤≥∑∫√π%]|\\(?:frac|sum|int|sqrt)")
# one of these is in every text that the pattern of code, or of maths, finds something in: most texts have none
_CODE_SIGNS: Final = "`{};(<"
_INDENTED = re.compile(r"\s{4}")
_MATHS_SIGNS: Final = "=+*/^<>≤≥∑∫√π%\\"

_VOCABULARY: Final = {
    "maths": (
        "algebra arithmetic average calculate combinatorics compute cosine derivative determinant divide "
        "divided divisible eigenvalue equation equations formula fraction geometry graph integer integers "
        "integral logarithm matrix maximum mean median minimum modulo multiply numbers percent percentage "
        "polynomial prime probability prove proof proportion quadratic ratio root sine solve sqrt square "
        "statistics subtract sum theorem triangle variance vector vectors"
    ),
    "code": (
        "algorithm api array async bash bug c++ class code compile compiler complexity css database debug "
        "deploy docker exception function git golang html implement implementation java javascript json "
        "kubernetes library linux list loop method module null parse program programming python query "
        "recursion refactor regex rust script server sql stack string syntax thread traceback typescript "
        "unittest variable"
    ),
    "reasoning": (
        "although assume assuming because conclude conclusion consequently deduce derive evidence explain "
        "following given hence hypothesis if implies infer justify logic logical logically otherwise premise "
        "reason reasoning should statement statements suppose then therefore thus unless whether why would"
    ),
    "steps": (
        "after afterwards and-then before finally first following lastly later next phase plan procedure "
        "process second sequence stage step steps subsequently then third until while workflow"
    ),
    "analysis": (
        "advantages analyse analysis analyze approach architecture argue assess audit compare comparison "
        "consider contrast critique design diagnose differences disadvantages discuss evaluate examine "
        "impact implications improve investigate optimise optimize propose recommend research review risk "
        "risks scenario strategies strategy tradeoff trade-off tradeoffs trade-offs"
    ),
    "constraints": (
        "all at-least at-most avoid but cannot constraint constraints ensure every exactly except format "
        "include including least limit maximum minimum most must never no none not only require required "
        "requirement requirements respectively satisfy without"
    ),
    "quantities": (
        "amount annual cost costs day days distance dollars double each fewer half height hour hours hundred "
        "kg km less many meters miles million minutes money month months more much number per price rate "
        "remaining rest speed thousand times total twice units week weeks weight width year years"
    ),
    "facts": (
        "capital date define definition located mean means meaning name stands what when where which who "
        "whose whom"
    ),
    "rewriting": (
        "concise correct edit fix formal grammar improve paraphrase polite proofread reformat rephrase "
        "reword rewrite shorten simplify spelling style tone translate translation translated"
    ),
    "extraction": (
        "categorise categorize category classify classification detect email extract extraction find "
        "identify intent keyword keywords label labels list names negative neutral positive sentiment "
        "summarise summarize summary tag tags title"
    ),
}


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and spread of one signal over the public questions, and which way it speaks (+1 harder, -1
    easier)."""

    direction: int
    mean: float
    spread: float


SCALES: Final = MappingProxyType(
    {
        "maths": Scale(1, 0.256, 0.552),
        "code": Scale(1, 0.264, 0.529),
        "reasoning": Scale(1, 0.427, 0.498),
        "steps": Scale(1, 0.256, 0.453),
        "analysis": Scale(1, 0.065, 0.256),
        "constraints": Scale(1, 0.364, 0.525),
        "quantities": Scale(1, 0.557, 0.73),
        "facts": Scale(-1, 0.365, 0.486),
        "rewriting": Scale(-1, 0.017, 0.12),
        "extraction": Scale(-1, 0.147, 0.331),
        "words": Scale(1, 3.49, 0.735),
        "numbers": Scale(1, 0.519, 0.793),
        "long words": Scale(1, 0.136, 0.096),
    }
)
FURTHEST: Final = 3.0  # spreads; one odd signal must not decide alone
_WEIGHT: Final = 1 / len(SCALES)


@value_type
class Signal:
    """One signal of one request: its raw value, its weight in the score, and what it added to it."""

    name: str
    value: float
    weight: float
    contribution: float


@value_type
class Score:
    """How much a request is likely to gain from a stronger model: 0 is the middle of the public questions."""

    value: float
    source: str
    signals: tuple[Signal, ...] = ()


def prior(text: str) -> Score:
    """The hand prior: the equal-weight mean of all signals in spreads from their mean. About 0.15 ms."""
    signals, total = [], 0.0
    for name, value in measure(text).items():
        scale = SCALES[name]
        weight = scale.direction * _WEIGHT
        spreads = (value - scale.mean) / scale.spread
        if not -FURTHEST < spreads < FURTHEST:
            spreads = math.copysign(FURTHEST, spreads)
        contribution = weight * spreads
        signals.append(Signal(name, round(value, 3), weight, contribution))
        total += contribution
    return Score(total, "prior", tuple(signals))


def measure(text: str) -> dict[str, float]:
    """The raw signals of one text: logarithms of counts, and the share of long words. About 0.1 ms."""
    read = (
        text
        if len(text) <= LONGEST_TEXT_READ
        else text[: LONGEST_TEXT_READ // 2] + "\n" + text[-LONGEST_TEXT_READ // 2 :]
    )
    words = _WORD.findall(read)
    counts = dict.fromkeys(_VOCABULARY, 0)
    long_words = 0
    for word in map(str.lower, words):
        if len(word) > 7:
            long_words += 1
        for name in _CLASSES_OF.get(word, ()):
            counts[name] += 1
    if _has_any(read, _MATHS_SIGNS):
        counts["maths"] += len(_MATHS_SYMBOL.findall(read))
    if _has_any(read, _CODE_SIGNS) or _INDENTED.search(read):
        counts["code"] += 2 * len(_CODE_BLOCK.findall(read))
    unread = len(text) / len(read) if read else 1.0
    raw = {name: math.log1p(count) for name, count in counts.items()}
    raw["words"] = math.log1p(len(words) * unread)
    raw["numbers"] = math.log1p(len(_NUMBER.findall(read)))
    raw["long words"] = long_words / len(words) if words else 0.0
    return raw


def _has_any(text: str, signs: str) -> bool:
    return any(map(text.__contains__, signs))


def _classes_of() -> dict[str, tuple[str, ...]]:
    classes: dict[str, tuple[str, ...]] = {}
    for name, words in _VOCABULARY.items():
        for word in set(words.split()):
            classes[word] = (*classes.get(word, ()), name)
    return classes


_CLASSES_OF: Final = _classes_of()
