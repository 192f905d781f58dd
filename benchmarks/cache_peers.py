"""What others would have served: static thresholds at the peers' defaults, and vCache.

Invariant: the same vectors and the same order as the product gets; every decision uses only what came before it. vCache
is written anew after its paper (Schroeder et al., "vCache: Verified Semantic Prompt Caching"): no line of its code is here.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_files import Stream

Vectors = NDArray[np.float32]
STATIC_CUTS = {
    0.60: "GPTCache",
    0.80: "LiteLLM, Bifrost",
    0.85: "",
    0.90: "redisvl",
    0.95: "Portkey",
    0.98: "",
}
_LEAST_OBSERVATIONS = 6
_STEPS = [(step / 50, NormalDist().inv_cdf(1 - step / 50)) for step in range(1, 50)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule did with one order of a stream."""

    requests: int
    hits: int
    wrong: int
    late_hits: int = 0
    extra: int = 0

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests

    @property
    def late_hit_rate(self) -> float:
        return self.late_hits / (self.requests - self.requests // 2)

    @property
    def wrong_rate(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0

    @property
    def extra_rate(self) -> float:
        return self.extra / self.requests


def static(stream: Stream, vectors: Vectors, order: list[int], cut: float) -> Outcome:
    """Serve the nearest question's answer from a fixed cosine on; keep only what was missed."""
    return _replay(stream, vectors, order, lambda _place, similarity: similarity >= cut, None)


def vcache(stream: Stream, vectors: Vectors, order: list[int], delta: float, *, seed: int) -> Outcome:
    """A logistic curve for each entry over its own judged similarities; explores at random, judges what it explored."""
    draw = random.Random(seed)
    seen: dict[int, list[tuple[float, float]]] = {}

    def serves(place: int, similarity: float) -> bool:
        observed = seen.setdefault(place, [(0.0, 0.0), (1.0, 1.0)])
        return len(observed) >= _LEAST_OBSERVATIONS and draw.random() > _exploring(
            observed, similarity, delta
        )

    def judges(place: int, similarity: float, is_right: bool) -> bool:
        seen.setdefault(place, [(0.0, 0.0), (1.0, 1.0)]).append((round(similarity, 3), float(is_right)))
        return not is_right

    return _replay(stream, vectors, order, serves, judges)


def _replay(
    stream: Stream,
    vectors: Vectors,
    order: list[int],
    serves: Callable[[int, float], bool],
    judges: Callable[[int, float, bool], bool] | None,
) -> Outcome:
    """Walk through a stream. What is not served is asked upstream and kept, unless `judges` compares it and says no."""
    kept = np.empty((len(order), vectors.shape[1]), np.float32)
    answers: list[int] = []
    hits = wrong = late = judged = 0
    for number, place in enumerate(order):
        if answers:
            similarities = kept[: len(answers)] @ vectors[place]
            nearest = int(np.argmax(similarities))
            similarity = float(similarities[nearest])
            is_right = answers[nearest] == stream.answers[place]
            if serves(nearest, similarity):
                hits += 1
                wrong += not is_right
                late += number >= len(order) // 2
                continue
            if judges:
                judged += 1
                if not judges(nearest, similarity, is_right):
                    continue
        kept[len(answers)] = vectors[place]
        answers.append(stream.answers[place])
    return Outcome(len(order), hits, wrong, late, judged)


def _exploring(observed: list[tuple[float, float]], similarity: float, delta: float) -> float:
    """How probable it must be that the request is explored, for errors to stay within delta."""
    slope, cut, variance = _curve(observed)
    least = 1.0
    for step, quantile in _STEPS:
        shifted = min(1.0, max(0.0, cut + quantile * math.sqrt(variance)))
        right = (1 - step) / (1 + math.exp(-max(-60.0, min(60.0, slope * (similarity - shifted)))))
        least = min(least, 1 - delta / max(1 - right, 1e-9))
    return max(0.0, least)


def _curve(observed: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Slope, middle and the middle's variance of the likeliest logistic curve; the middle by the delta method."""
    x = np.array([similarity for similarity, _ in observed])
    y = np.array([right for _, right in observed])
    highest_wrong, lowest_right = x[y == 0].max(), x[y == 1].min()
    if highest_wrong < lowest_right:
        # Perfectly parted: no finite curve is likeliest. A steep one in the middle of the gap, less sure with few points.
        return 100.0, float((highest_wrong + lowest_right) / 2), 0.21 / len(x) * 0.05
    design = np.column_stack([np.ones_like(x), x])
    weights = np.zeros(2)
    hessian = np.eye(2)
    for _ in range(25):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        hessian = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (y - chance))
        weights += np.clip(step, -20, 20)
        if np.abs(step).max() < 1e-4:
            break
    offset, slope = float(weights[0]), float(weights[1])
    if slope <= 1e-3:
        return 1e-3, 1.0, 1.0
    gradient = np.array([-1 / slope, offset / slope**2])
    variance = float(gradient @ np.linalg.inv(hessian) @ gradient)
    return slope, min(1.0, max(0.0, -offset / slope)), max(variance, 1e-9)
