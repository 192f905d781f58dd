"""Turns a question and its neighbours into features and words for the verifier.

Invariant: pure. It uses only what is known when the question arrives: the texts, the cosines, and which neighbours have
the same answer (`group`). Stored labels and shipped weights use the order of `NAMES`: if you change it, change `VERSION`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from caching.scoring.guards import FLAGS, Reading, differences, read
from config.remembered import remembered

VERSION = 2
# Only the nearest of this many may be served; the others only vote.
SERVED = 5
# Below this similarity a neighbour's words do not count for its group.
_WORDS_COUNT_FROM = 0.6
# How fast a neighbour's vote decreases with its distance.
_VOTE_WIDTH = 0.03

Rows = NDArray[np.float32]


class Near(Protocol):
    """What this module needs from a neighbour."""

    @property
    def question(self) -> str: ...
    @property
    def similarity(self) -> float: ...
    @property
    def group(self) -> bytes: ...


NAMES = (
    *("one", "cosine", "cosine_log", "rank"),
    *(f"flag_{flag}" for flag in FLAGS),
    *(
        "shared_words",
        "words_only_here",
        "words_only_there",
        "words_exchanged",
        "same_words",
        "one_says_more",
    ),
    *("shared_letters", "length", "same_type", "shared_all_words", "words", "same_order"),
    *("margin", "vote", "vote_count", "group_cosine", "groups", "cosine_vote", "group_of_nearest"),
    *(
        "new_to_group",
        "missing_of_group",
        "nothing_new",
        "nothing_missing",
        "same_as_group",
        "same_as_large_group",
    ),
    *("known_elsewhere", "flagged_in_group"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of `NAMES` per candidate, and the words in which question and candidate differ."""

    rows: Rows
    words: tuple[tuple[str, ...], ...]
    flags: tuple[tuple[str, ...], ...]


def compare(question: str, neighbours: Sequence[Near]) -> Comparison:
    """Compare a question with its neighbours, nearest first; the first `SERVED` become candidates. About 1 ms."""
    asked = read(question)
    neighbourhood = _Neighbourhood(asked, neighbours)
    candidates = neighbours[:SERVED]
    pairs = [_pair(question, near.question) for near in candidates]
    least: dict[bytes, int] = {}
    for near, pair in zip(candidates, pairs, strict=True):
        least[near.group] = min(least.get(near.group, len(FLAGS)), len(pair.flags))
    rows = np.array(
        [
            (
                *_nearness(near.similarity, rank),
                *pair.numbers,
                *neighbourhood.features(near),
                float(least[near.group] > 0),
            )
            for rank, (near, pair) in enumerate(zip(candidates, pairs, strict=True))
        ],
        dtype=np.float32,
    ).reshape(len(candidates), len(NAMES))
    return Comparison(rows, tuple(pair.words for pair in pairs), tuple(pair.flags for pair in pairs))


@dataclass(frozen=True, slots=True)
class _Pair:
    flags: tuple[str, ...]
    numbers: tuple[float, ...]
    words: tuple[str, ...]


def _nearness(similarity: float, rank: int) -> tuple[float, ...]:
    return (
        1.0,
        (similarity - 0.85) * 10,
        min(-math.log(max(1.002 - similarity, 1e-4)), 5.0) - 2,
        rank / SERVED,
    )


@remembered(most_characters=1_000_000)  # some 5 MB
def _pair(question: str, other: str) -> _Pair:
    """The features of the two texts alone."""
    left, right = read(question), read(other)
    flags = differences(question, other)
    ours, theirs = frozenset(left.content), frozenset(right.content)
    here, there = ours - theirs, theirs - ours
    numbers = (
        *(float(flag in flags) for flag in FLAGS),
        _overlap(ours, theirs),
        min(len(here), 4) / 4,
        min(len(there), 4) / 4,
        min(len(here), len(there), 3) / 3,
        float(not here and not there),
        float((not here) != (not there)),
        _overlap(_letters(question), _letters(other)),
        min(abs(len(left.words) - len(right.words)), 10) / 10,
        float(left.answer_type == right.answer_type),
        _overlap(frozenset(left.words), frozenset(right.words)),
        min(len(ours), 10) / 10,
        float(left.content == right.content),
    )
    return _Pair(flags, numbers, _differing_words(here, there))


def _differing_words(here: frozenset[str], there: frozenset[str]) -> tuple[str, ...]:
    """The words that only one side has; if there are few, also each possible replacement of one by another."""
    words = sorted(here | there)
    if len(here) <= 3 and len(there) <= 3:
        words += ["|".join(sorted((one, other))) for one in sorted(here) for other in sorted(there)]
    return tuple(words)


@remembered(most_characters=100_000)  # some 8 MB
def _letters(text: str) -> frozenset[str]:
    padded = f" {text.lower()} "
    return frozenset(padded[index : index + 3] for index in range(len(padded) - 2))


def _overlap(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / (len(left | right) or 1)


class _Neighbourhood:
    """The neighbours together: how they vote for each answer, and which words the questions of one answer share."""

    def __init__(self, asked: Reading, neighbours: Sequence[Near]) -> None:
        self._asked = frozenset(asked.content)
        self._size = len(neighbours)
        self._nearest = neighbours[0].group if neighbours else b""
        self._votes: dict[bytes, float] = {}
        self._counts: dict[bytes, int] = {}
        self._best: dict[bytes, float] = {}
        self._close: dict[bytes, int] = {}
        self._any: dict[bytes, frozenset[str]] = {}
        self._all: dict[bytes, frozenset[str]] = {}
        self._last = neighbours[-1].similarity if neighbours else 0.0
        top = neighbours[0].similarity if neighbours else 0.0
        for near in neighbours:
            group = near.group
            vote = math.exp((near.similarity - top) / _VOTE_WIDTH)
            self._votes[group] = self._votes.get(group, 0.0) + vote
            self._counts[group] = self._counts.get(group, 0) + 1
            self._best.setdefault(group, near.similarity)
            if near.similarity >= _WORDS_COUNT_FROM:
                words = frozenset(read(near.question).content)
                self._close[group] = self._close.get(group, 0) + 1
                self._any[group] = self._any.get(group, frozenset()) | words
                self._all[group] = self._all.get(group, words) & words
        self._total = sum(self._votes.values()) or 1.0
        self._known: frozenset[str] = frozenset().union(*self._any.values())

    def features(self, near: Near) -> tuple[float, ...]:
        group = near.group
        others = [best for other, best in self._best.items() if other != group]
        margin = self._best[group] - (max(others) if others else self._last - 0.02)
        vote = self._votes[group] / self._total
        new = self._asked - self._any.get(group, frozenset())
        missing = self._all.get(group, frozenset()) - self._asked
        same = not new and not missing
        return (
            max(-1.0, min(1.0, margin * 10)),
            vote,
            self._counts[group] / self._size,
            (self._best[group] - 0.85) * 10,
            len(self._best) / 10,
            (near.similarity - 0.85) * 10 * vote,
            float(group == self._nearest),
            min(len(new), 4) / 4,
            min(len(missing), 4) / 4,
            float(not new),
            float(not missing),
            float(same),
            float(same) * min(self._close.get(group, 0), 4) / 4,
            min(len(new & self._known), 3) / 3,
        )
