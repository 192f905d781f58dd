"""Compares a cached answer with a fresh one: would the cached one have served? Each miss gives such a label for free.

Invariant: exact rules come before similarity, and doubt counts as wrong, because a label that is wrongly "right" opens
a scope beyond its bound. Pure: the caller passes the vectors.
"""

import re
from dataclasses import dataclass

import numpy as np

from caching.embedders.base import Vector

# Cosine of two answers. Without a judge, answers are the same from SAME_FROM on. Between the other two, ask the judge.
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
    """The judgement by words alone; None if they do not decide."""
    if same_words(fresh, cached):
        return Judgement(False, "same_words")
    if bool(_REFUSAL.search(fresh.lower())) != bool(_REFUSAL.search(cached.lower())):
        return Judgement(True, "one_refuses")
    if set(_NUMBER.findall(fresh)) != set(_NUMBER.findall(cached)):
        return Judgement(True, "numbers")
    return None


def judge_by_meaning(vectors: tuple[Vector, Vector]) -> Judgement:
    """The judgement by the vectors of the two answers."""
    return Judgement(float(np.dot(vectors[0], vectors[1])) < SAME_FROM, "meaning")


def leaves_doubt(vectors: tuple[Vector, Vector], *, is_cut: bool) -> bool:
    """Whether to ask a judge. The vector of an answer that was cut says nothing about its end."""
    cosine = float(np.dot(vectors[0], vectors[1]))
    return cosine >= CLEARLY_DIFFERENT_BELOW and (is_cut or cosine < CLEARLY_SAME_FROM)
