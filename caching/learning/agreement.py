"""Judges whether a cached answer would have served where a fresh one was just made: the free label of a
miss.

Invariant: exact rules speak before similarity, and doubt counts as wrong, because a label that is wrongly
"right" opens a scope further than its bound. Pure: the caller brings the vectors.
"""

import re
from dataclasses import dataclass

import numpy as np

from caching.embedders.base import Vector

# Cosine of two answers: same from here on, if nobody else is asked; and where that is doubtful enough to ask somebody.
SAME_FROM = 0.85
CLEARLY_DIFFERENT_BELOW, CLEARLY_SAME_FROM = 0.60, 0.95
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i can(?:'t|not)|as an ai|i don't have (?:access|"
    r"information))\b"
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the cached answer would have been wrong, and by which rule (a stable word)."""

    is_wrong: bool
    rule: str


def same_words(fresh: str, cached: str) -> bool:
    """Equal but for case and white space: settles most repeats without a vector."""
    return fresh.lower().split() == cached.lower().split()


def judge_by_rules(fresh: str, cached: str) -> Judgement | None:
    """What the words alone settle; None if they do not."""
    if same_words(fresh, cached):
        return Judgement(False, "same_words")
    if bool(_REFUSAL.search(fresh.lower())) != bool(_REFUSAL.search(cached.lower())):
        return Judgement(True, "one_refuses")
    if set(_NUMBER.findall(fresh)) != set(_NUMBER.findall(cached)):
        return Judgement(True, "numbers")
    return None


def judge_by_meaning(vectors: tuple[Vector, Vector]) -> Judgement:
    """What the vectors of the two answers say."""
    return Judgement(float(np.dot(vectors[0], vectors[1])) < SAME_FROM, "meaning")


def leaves_doubt(vectors: tuple[Vector, Vector], *, is_cut: bool) -> bool:
    """Whether a judge should have the word. Vectors of answers that were cut do not know of their ends."""
    cosine = float(np.dot(vectors[0], vectors[1]))
    return cosine >= CLEARLY_DIFFERENT_BELOW and (is_cut or cosine < CLEARLY_SAME_FROM)
