"""The verifier: the certainty that a candidate's answer serves, from features and differing words.

Invariant: pure. A scope's weights are learnt from its own labels and regularised towards the shipped weights: a scope
without labels scores like the shipped weights. The scores for finding a threshold come from weights that were not
trained on the scored label (cross-validation).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from caching.scoring.features import NAMES, VERSION, Comparison, Rows
from caching.scoring.guards import VETOES
from caching.scoring.threshold import FLOOR

SHIPPED = Path(__file__).with_name("verifier_weights.json")
FOLDS = 4
# How strongly weights are regularised towards their start.
_HOLD = 1.0
_HOLD_WORDS = 2.0
_MOST_WORDS = 3_000
# One pair that represents many requests must not dominate the weights.
_HEAVIEST = 4.0

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weights:
    """One number per feature, one per word that questions differ in."""

    features: Numbers
    words: Mapping[str, float] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        kept = {word: round(weight, 4) for word, weight in self.words.items() if abs(weight) >= 0.01}
        features = [round(float(weight), 5) for weight in self.features]
        return orjson.dumps({"version": VERSION, "features": features, "words": kept})

    @staticmethod
    def from_bytes(data: bytes) -> "Weights | None":
        """None if they were learnt from other features than the current ones."""
        stored = orjson.loads(data)
        if stored["version"] != VERSION or len(stored["features"]) != len(NAMES):
            return None
        return Weights(np.array(stored["features"], np.float64), stored["words"])


@dataclass(frozen=True, slots=True)
class Event:
    """A question that had candidates and was answered upstream, with a verdict on each candidate.

    `weight` is the number of requests it represents.
    """

    rows: Rows
    words: tuple[tuple[str, ...], ...]
    wrong: tuple[bool, ...]
    weight: float = 1.0


@lru_cache(maxsize=1)
def shipped() -> Weights:
    """The weights that a scope starts from. `python -m caching.learning.training` makes them."""
    stored = json.loads(SHIPPED.read_text())
    assert stored["version"] == VERSION
    return Weights(np.array([stored["features"][name] for name in NAMES]), stored["words"])


def certainties(found: Comparison, weights: Weights) -> list[float]:
    """For each candidate, the probability that its answer serves, by these weights. About 0.05 ms."""
    known = weights.words
    scores = found.rows @ weights.features
    return [
        float(_logistic(score + sum(known.get(word, 0.0) for word in words)))
        for score, words in zip(scores, found.words, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """New weights; and for each event the certainty of the candidate that would be served first, and whether it was wrong.

    Each event is scored by weights learnt without it. The certainty is -1 where nothing may be served.
    """

    weights: Weights
    certainties: Numbers
    wrong: NDArray[np.bool_]


def learn(events: Sequence[Event], start: Weights) -> TrainingResult:
    """Weights of a scope from its events, oldest first. About 1 s for 4,000 events."""
    problem = _Problem.of(events, start)
    folds = problem.event_of_row % FOLDS
    scores = np.empty(len(problem.right))
    for fold in range(FOLDS):
        is_held_out = folds == fold
        weights = problem.solve(~is_held_out)
        scores[is_held_out] = problem.score(weights)[is_held_out]
    chances = np.where(_may_serve(problem.rows), _logistic(scores), -1.0)
    best = np.array([begin + int(np.argmax(chances[begin:end])) for begin, end in problem.events()], np.int64)
    return TrainingResult(
        problem.to_weights(problem.solve(np.ones(len(scores), np.bool_))),
        chances[best],
        problem.right[best] == 0,
    )


def _may_serve(rows: Numbers) -> NDArray[np.bool_]:
    """The rule of `decision`, read from the features (which were kept with three digits)."""
    is_vetoed = rows[:, [NAMES.index(f"flag_{flag}") for flag in VETOES]].any(axis=1)
    return ~is_vetoed & (rows[:, NAMES.index("cosine")] >= (FLOOR - 0.85) * 10 - 0.002)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Logistic regression over dense features and sparse words, regularised towards a starting point."""

    rows: Numbers
    word_row: NDArray[np.int64]  # for each mention of a word: its row; `word` is its index
    word: NDArray[np.int64]
    right: Numbers
    weight: Numbers
    event_of_row: NDArray[np.int64]
    vocabulary: tuple[str, ...]
    start: Numbers
    hold: Numbers
    start_words: Mapping[str, float]

    @staticmethod
    def of(events: Sequence[Event], start: Weights) -> "_Problem":
        sizes = [len(event.wrong) for event in events]
        mentions = [(row, word) for row, word in enumerate(w for event in events for w in event.words)]
        counts = Counter(word for _, words in mentions for word in words)
        vocabulary = tuple(word for word, count in counts.most_common(_MOST_WORDS) if count > 1)
        places = {word: place for place, word in enumerate(vocabulary)}
        pairs = [(row, places[word]) for row, words in mentions for word in words if word in places]
        offset = np.array(pairs, np.int64).reshape(-1, 2)
        known = np.array([start.words.get(word, 0.0) for word in vocabulary])
        return _Problem(
            rows=np.concatenate([event.rows for event in events]).astype(np.float64),
            word_row=offset[:, 0],
            word=offset[:, 1],
            right=1.0 - np.array([wrong for event in events for wrong in event.wrong], np.float64),
            weight=np.repeat([min(event.weight, _HEAVIEST) for event in events], sizes),
            event_of_row=np.repeat(np.arange(len(events)), sizes),
            vocabulary=vocabulary,
            start=np.concatenate([start.features, known]),
            hold=np.concatenate([np.full(len(NAMES), _HOLD), np.full(len(vocabulary), _HOLD_WORDS)]),
            start_words=start.words,
        )

    def events(self) -> list[tuple[int, int]]:
        """Where each event's rows begin and end."""
        begins = np.flatnonzero(np.diff(self.event_of_row, prepend=-1))
        return list(zip(begins.tolist(), [*begins[1:].tolist(), len(self.event_of_row)], strict=True))

    def score(self, weights: Numbers) -> Numbers:
        dense = self.rows @ weights[: self.rows.shape[1]]
        mentioned = weights[self.rows.shape[1] :][self.word]
        return dense + np.bincount(self.word_row, mentioned, minlength=len(dense))

    def to_weights(self, solved: Numbers) -> Weights:
        dense = self.rows.shape[1]
        words = dict(self.start_words) | dict(zip(self.vocabulary, solved[dense:].tolist(), strict=True))
        return Weights(solved[:dense], words)

    def solve(self, mask: NDArray[np.bool_], *, steps: int = 40, memory: int = 8) -> Numbers:
        """L-BFGS over the rows of the mask, with the diagonal of the curvature as its initial Hessian."""
        weight = self.weight * mask
        dense = self.rows.shape[1]

        def value_and_slope(at: Numbers) -> tuple[float, Numbers]:
            score = self.score(at)
            chance = _logistic(score)
            loss = float(weight @ (np.logaddexp(0.0, score) - self.right * score))
            residual = weight * (chance - self.right)
            slope = np.concatenate(
                [
                    residual @ self.rows,
                    np.bincount(self.word, residual[self.word_row], minlength=len(self.vocabulary)),
                ]
            )
            off = at - self.start
            return loss + 0.5 * float(self.hold @ (off * off)), slope + self.hold * off

        at = self.start.copy()
        value, slope = value_and_slope(at)
        bend = 0.15 * weight
        curvature = self.hold + np.concatenate(
            [
                bend @ (self.rows * self.rows),
                np.bincount(self.word, bend[self.word_row], minlength=len(self.vocabulary)),
            ]
        )
        assert len(curvature) == dense + len(self.vocabulary)
        past: list[tuple[Numbers, Numbers, float]] = []
        for _ in range(steps):
            direction = _direction(slope, past, curvature)
            downhill = float(direction @ slope)
            if downhill > -1e-4:
                break
            length = 1.0
            while True:
                new = at + length * direction
                new_value, new_slope = value_and_slope(new)
                if new_value <= value + 1e-4 * length * downhill or length < 1e-4:
                    break
                length *= 0.4
            moved, turned = new - at, new_slope - slope
            if (agreement := float(moved @ turned)) > 1e-12:
                past = [*past[-(memory - 1) :], (moved, turned, 1 / agreement)]
            done = value - new_value < 1e-3 * max(1.0, abs(value)) * 1e-2
            at, value, slope = new, new_value, new_slope
            if done:
                break
        return at


def _direction(slope: Numbers, past: list[tuple[Numbers, Numbers, float]], curvature: Numbers) -> Numbers:
    """The two-loop recursion of L-BFGS (Nocedal)."""
    result = slope.copy()
    shares: list[float] = []
    for moved, turned, scale in reversed(past):
        share = scale * float(moved @ result)
        shares.append(share)
        result -= share * turned
    result /= curvature
    for (moved, turned, scale), share in zip(past, reversed(shares), strict=True):
        result += (share - scale * float(turned @ result)) * moved
    return -result


def _logistic(score: Numbers) -> Numbers:
    return 1.0 / (1.0 + np.exp(-np.clip(score, -30.0, 30.0)))
