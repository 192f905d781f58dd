"""`python -m caching.learning.training`: learns the weights that every scope starts from, and writes them beside the verifier.

Invariant: they come from questions of our own making alone (`questions`), by way of the product's embedder and features,
so they may be shipped, and the same code gives the same weights.
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
# Narrow tenants (few values, many ways to ask) and broad ones (the reverse, where a near question is usually another).
TENANTS = ((1, 3, 700), (2, 5, 700), (3, 8, 900), (4, 14, 900), (5, 2, 500), (6, 6, 800))
# Invented questions are more alike than people's: each counts for little, so that no weight grows on their quirks alone.
LIGHTNESS = 0.05
# Held back a little: a new scope's own words are to outweigh these.
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
    """What a cache of one invented tenant would have been taught, had everything been asked upstream.

    After every third question comes one that differs from it by a small change.
    """
    draw = random.Random(seed)
    intents = range(seed % 3, len(INTENTS), 2)
    asked = [(each.text, each.answer) for each in stream(size, seed=seed, breadth=breadth, intents=intents)]
    words = sorted({word for text, _ in asked for word in text.split() if word.isalpha() and len(word) > 3})
    told: list[tuple[str, str]] = []
    for number, (text, answer) in enumerate(asked):
        changed = change(text, draw, words) if number % 3 == 0 else None
        first, second, keeps_answer = changed or (text, "", True)
        told.append((first, answer if first == text else f"{answer} {first}"))
        if second:
            told.append((second, answer if keeps_answer else f"{answer} {second}"))
    vectors = load_minilm().embedder.embed([text for text, _ in told])
    events = []
    for place in range(1, len(told)):
        similarities = vectors[:place] @ vectors[place]
        nearest = [
            _Near(told[other][0], float(similarities[other]), told[other][1].encode())
            for other in np.argsort(-similarities)[:NEIGHBOURS]
        ]
        if nearest[0].similarity >= FAR:
            found = compare(told[place][0], nearest)
            wrong = tuple(near.group != told[place][1].encode() for near in nearest[:SERVED])
            events.append(Event(found.rows, found.words, wrong, LIGHTNESS))
    return events


if __name__ == "__main__":
    main()
