"""What a scope learns from its labels: on small invented streams, with the product's features and weights."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from caching.learning.evidence import checked_share_of
from caching.learning.training.edits import change
from caching.learning.training.questions import INTENTS, stream
from caching.scoring.features import NAMES, SERVED, compare
from caching.scoring.threshold import Label, find_threshold
from caching.scoring.verifier import Event, Weights, certainties, learn, shipped


@dataclass(frozen=True)
class Near:
    question: str
    similarity: float
    group: bytes


def certainty(asked: str, kept: str, similarity: float = 0.9) -> float:
    (found,) = certainties(compare(asked, [Near(kept, similarity, b"a")]), shipped())
    return found


def test_it_works() -> None:
    kept = "How do I reset my router?"
    assert certainty("Please, how do I reset my router", kept, 0.97) > 0.9
    for trap in (
        "How do I not reset my router?",
        "How do I reset my router tomorrow?",
        "Where do I reset my router 12?",
    ):
        assert certainty(trap, kept, 0.9) < 0.5, trap


def test_weights_survive_being_stored() -> None:
    weights = Weights(np.arange(len(NAMES), dtype=float) / 7, {"cheap": 0.5, "noise": 0.001})
    back = Weights.from_bytes(weights.to_bytes())
    assert back is not None
    assert np.allclose(back.features, weights.features, atol=1e-4)
    assert back.words == {"cheap": 0.5}
    assert Weights.from_bytes(b'{"version": 0, "features": [], "words": {}}') is None


def events(count: int, *, word_matters: bool, seed: int = 1) -> list[Event]:
    """Questions that differ from a kept one by one word; whether that word changes the answer is the tenant's secret."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        word = draw.choice(("cheapest", "fastest"))
        kept = f"Show me the cheapest way from {draw.choice(('Lyon', 'Graz', 'Cork'))} to Porto"
        asked = kept.replace("cheapest", word).replace("Show me", draw.choice(("Show", "List", "Show me")))
        seen = compare(asked, [Near(kept, draw.uniform(0.9, 0.97), b"a")])
        found.append(Event(seen.rows, seen.words, (word_matters and word == "fastest",)))
    return found


@pytest.mark.parametrize("word_matters", [True, False])
def test_a_scope_learns_whether_a_word_matters(word_matters: bool) -> None:
    weights = learn(events(200, word_matters=word_matters), shipped()).weights
    kept = "Show me the cheapest way from Lyon to Porto"
    seen = compare("Show the fastest way from Lyon to Porto", [Near(kept, 0.95, b"a")])
    assert (certainties(seen, weights)[0] > 0.8) == (not word_matters)


def test_labels_are_scored_by_weights_that_have_not_seen_them() -> None:
    """Answers that nothing tells apart: a score that had seen the labels would claim to know them."""
    draw = random.Random(3)
    noise = [
        Event(event.rows, ((f"word{number}", f"word{number % 40}"),), (draw.random() < 0.5,))
        for number, event in enumerate(events(300, word_matters=False))
    ]
    learnt = learn(noise, shipped())
    sure = learnt.certainties >= np.quantile(learnt.certainties, 0.8)
    assert 0.3 < learnt.wrong[sure].mean() < 0.7
    labels = [Label(float(c), bool(w)) for c, w in zip(learnt.certainties, learnt.wrong, strict=True)]
    assert not find_threshold(labels, max_error_rate=0.05).is_open


def test_what_may_not_be_served_is_no_evidence() -> None:
    seen = compare("Pay 20 dollars by card", [Near("Pay 30 dollars by card", 0.97, b"a")])
    learnt = learn([Event(seen.rows, seen.words, (False,))] * 50, shipped())
    assert set(learnt.certainties) == {-1.0}


def test_an_event_is_judged_by_what_would_be_served_first() -> None:
    near = [Near("Open the door", 0.95, b"a"), Near("Open the window now", 0.8, b"b")]
    seen = compare("Please open the door", near)
    assert len(seen.rows) == 2
    learnt = learn([Event(seen.rows, seen.words, (False, True))] * 20, shipped())
    assert not learnt.wrong.any()


def test_neighbours_of_one_answer_vote_together() -> None:
    one = [Near("reset the router", 0.9, b"a"), Near("restart the router", 0.89, b"b")]
    many = [*one, *(Near(f"how to reset a router {word}", 0.88, b"a") for word in ("here", "now", "again"))]
    vote = NAMES.index("vote")
    assert compare("resetting routers", many).rows[0][vote] > compare("resetting routers", one).rows[0][vote]
    assert len(compare("resetting routers", many * 3).rows) == SERVED


def test_invented_questions_are_the_same_every_time() -> None:
    once, again = stream(200, seed=4), stream(200, seed=4)
    assert once == again
    assert len({question.text.lower() for question in once}) == 200
    assert len(INTENTS) > 60
    draws = [change(once[0].text, random.Random(7), ["window", "planet"]) for _ in range(2)]
    assert draws[0] == draws[1]


def test_hits_are_checked_more_often_while_little_is_known_and_when_one_was_wrong() -> None:
    shares = [
        checked_share_of(find_threshold([Label(0.9, False)] * count, max_error_rate=0.05), is_alert=is_alert)
        for count, is_alert in ((0, False), (100, False), (400, False), (400, True))
    ]
    assert shares == [0.05, 0.05, 0.03, 0.20]
