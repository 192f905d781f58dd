"""Makes a scaled-down day of the sources' workload: which questions come, in which order, and what answers them.

Invariant: pure; the shares are exact, not drawn; equal seeds give equal days. What is new is new: no class of questions is
taken twice, and no repeat comes before its original.

Of each kind of work 60 % is new, 20 % repeats a request byte for byte, and 20 % asks the same in other words. The
paraphrases of simple work were written by people. With each of them comes a pair of questions that read alike and need
different answers. The other kinds have no published paraphrases: there a sentence is put before the question.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.savings.texts import Pair, Passage, Question, Texts

SHARES = {"simple": 0.60, "moderate": 0.30, "complex": 0.10}
REPEATED, REWORDED, MAY_WAIT = 0.20, 0.20, 1 / 3
OPENINGS = (
    "The next question is this one.\n",
    "Here is what the customer asks.\n",
    "One more of these:\n",
    "Our colleagues ask:\n",
)
PASSAGES_OF_A_QUESTION = 16  # more than fit: the prompt takes as many as its size allows


class TooFewTexts(ValueError):
    """The data has not enough different questions for so many requests."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the day. `answer` is the number of the answer that is right for it."""

    kind: str  # simple | moderate | complex
    novelty: str  # new | repeated | reworded
    question: str
    answer: int
    records: tuple[Passage, ...] = ()  # what was retrieved for it
    may_wait: bool = False
    outcomes: tuple[float, float] | None = None  # of the strong and the weaker model, if published


def day(texts: Texts, *, requests: int, seed: int) -> list[Ask]:
    """So many requests in their order. Raises TooFewTexts."""
    chance = random.Random(seed)
    timed: list[tuple[float, Ask]] = []
    numbers = iter(range(1, 2 * requests))
    for kind, share in SHARES.items():
        count = round(requests * share)
        repeated, reworded = round(count * REPEATED), round(count * REWORDED)
        new = count - repeated - reworded
        if kind == "simple":
            originals = _from_pairs(texts.pairs, new, reworded, numbers, chance)
        else:
            pool = texts.moderate if kind == "moderate" else texts.complex
            originals = _from_questions(kind, pool, new, reworded, numbers, chance, texts.passages)
        timed += _with_waiting(list(_over_the_day(originals, repeated, chance)), chance)
    return [ask for _, ask in sorted(timed, key=lambda one: one[0])]


_Original = tuple[Ask, str]  # a new request, and its other wording if it will be asked in it


def _from_pairs(
    pairs: list[Pair], new: int, reworded: int, numbers: Iterator[int], chance: random.Random
) -> list[_Original]:
    """Originals with paraphrases, as many pairs that only look alike, and single questions up to `new`."""
    pairs = chance.sample(pairs, len(pairs))
    taken: set[str] = set()
    equal, alike, single = [], [], []
    for pair in pairs:
        classes = {pair.first_class, pair.second_class}
        if classes & taken or pair.first == pair.second:
            continue
        if len(classes) == 1 and len(equal) < reworded:
            equal.append((_simple(pair.first, numbers), pair.second))
        elif len(classes) == 2 and len(alike) < min(2 * reworded, new - reworded - 1):
            alike += [(_simple(pair.first, numbers), ""), (_simple(pair.second, numbers), "")]
        elif len(equal) + len(alike) + len(single) < new:
            single.append((_simple(pair.first, numbers), ""))
        else:
            continue
        taken |= classes
    single = single[: new - len(equal) - len(alike)]
    originals = [*equal, *alike, *single]
    if len(equal) < reworded or len(originals) < new:
        raise TooFewTexts(f"{len(pairs)} pairs are not enough for {new} new simple questions")
    return originals


def _simple(question: str, numbers: Iterator[int]) -> Ask:
    return Ask("simple", "new", question, next(numbers))


def _from_questions(
    kind: str,
    pool: list[Question],
    new: int,
    reworded: int,
    numbers: Iterator[int],
    chance: random.Random,
    passages: list[Passage],
) -> list[_Original]:
    """Different questions of published outcome; moderate work has its retrieved records with it."""
    different = list({question.text: question for question in pool}.values())
    if len(different) < new:
        raise TooFewTexts(f"{len(different)} {kind} questions are not enough for {new} new ones")
    originals = []
    for place, question in enumerate(chance.sample(different, new)):
        records = chance.sample(passages, PASSAGES_OF_A_QUESTION) if kind == "moderate" else ()
        ask = Ask(
            kind,
            "new",
            question.text,
            next(numbers),
            records=tuple(records),
            outcomes=(question.strong, question.weak),
        )
        originals.append((ask, chance.choice(OPENINGS) + question.text if place < reworded else ""))
    return originals


def _over_the_day(
    originals: list[_Original], repeated: int, chance: random.Random
) -> Iterator[tuple[float, Ask]]:
    """Each request with its time of the day, 0 to 1: an original comes before what repeats it."""
    times = []
    for original, other_wording in originals:
        first, second = sorted((chance.random(), chance.random()))
        times.append(first)
        yield first, original
        if other_wording:
            yield second, replace(original, novelty="reworded", question=other_wording)
    for _ in range(repeated):
        place = chance.randrange(len(originals))
        yield chance.uniform(times[place], 1), replace(originals[place][0], novelty="repeated")


def _with_waiting(timed: list[tuple[float, Ask]], chance: random.Random) -> list[tuple[float, Ask]]:
    """A third of them may wait."""
    waiting = set(chance.sample(range(len(timed)), round(len(timed) * MAY_WAIT)))
    return [(time, replace(ask, may_wait=place in waiting)) for place, (time, ask) in enumerate(timed)]
