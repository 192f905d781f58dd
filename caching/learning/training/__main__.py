"""`python -m caching.learning.training`: learns the weights that every scope starts from, and writes them next to the verifier.

Invariant: the weights come only from generated questions (`questions`) and the product's embedder and features. They may
be shipped, and the same code gives the same weights.
"""

import json
import random
from dataclasses import dataclass

import numpy as np

from caching.embedders.registry import load_minilm
from caching.learning.training.edits import change
from caching.learning.training.questions import INTENTS, stream
from caching.scoring.features import NAMES, SERVED, VERSION, compare
from caching.scoring.verifier import SHIPPED, Event, Weights, learn

NEIGHBOURS = 10
FAR = 0.6
# Narrow tenants (few values, many phrasings) and broad ones (the reverse: a near question usually has another answer).
TENANTS = ((1, 3, 700), (2, 5, 700), (3, 8, 900), (4, 14, 900), (5, 2, 500), (6, 6, 800))
# Generated questions are more alike than real ones. Each has a small weight, to avoid overfitting.
LIGHTNESS = 0.05
# Scaled down a little: a new scope's own labels should outweigh these.
MODESTY = 0.9


@dataclass(frozen=True, slots=True)
class _Near:
    question: str
    similarity: float
    group: bytes


def main() -> None:
    events = [event for seed, breadth, size in TENANTS for event in events_of(seed, breadth, size)]
    start = Weights(np.zeros(len(NAMES)))
    learnt = learn(events, start)
    order = np.argsort(-learnt.certainties)
    for bound in (0.01, 0.02, 0.05):
        wrong = np.cumsum(learnt.wrong[order]) / np.arange(1, len(order) + 1)
        served = int(np.flatnonzero(wrong <= bound).max(initial=-1)) + 1
        print(f"wrong <= {bound:.0%}: {served / len(order):.1%} of {len(order)} served")
    weights = {
        name: round(float(weight) * MODESTY, 4)
        for name, weight in zip(NAMES, learnt.weights.features, strict=True)
    }
    SHIPPED.write_text(json.dumps({"version": VERSION, "features": weights, "words": {}}, indent=1) + "\n")
    print(f"written to {SHIPPED.name}")


def events_of(seed: int, breadth: int, size: int) -> list[Event]:
    """What the cache of one generated tenant would learn if every question were asked upstream.

    After every third question comes one that differs from it by a small change.
    """
    draw = random.Random(seed)
    intents = range(seed % 3, len(INTENTS), 2)
    asked = [(each.text, each.answer) for each in stream(size, seed=seed, breadth=breadth, intents=intents)]
    words = sorted({word for text, _ in asked for word in text.split() if word.isalpha() and len(word) > 3})
    history: list[tuple[str, str]] = []
    for number, (text, answer) in enumerate(asked):
        changed = change(text, draw, words) if number % 3 == 0 else None
        first, second, keeps_answer = changed or (text, "", True)
        history.append((first, answer if first == text else f"{answer} {first}"))
        if second:
            history.append((second, answer if keeps_answer else f"{answer} {second}"))
    vectors = load_minilm().embedder.embed([text for text, _ in history])
    events = []
    for place in range(1, len(history)):
        similarities = vectors[:place] @ vectors[place]
        nearest = [
            _Near(history[other][0], float(similarities[other]), history[other][1].encode())
            for other in np.argsort(-similarities)[:NEIGHBOURS]
        ]
        if nearest[0].similarity >= FAR:
            found = compare(history[place][0], nearest)
            wrong = tuple(near.group != history[place][1].encode() for near in nearest[:SERVED])
            events.append(Event(found.rows, found.words, wrong, LIGHTNESS))
    return events


if __name__ == "__main__":
    main()
