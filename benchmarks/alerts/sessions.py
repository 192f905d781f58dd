"""Generated sessions of coding agents, request by request: work, with its retries, looks and classifying, and agents that loop.

Invariant: a seed says everything. Seconds are of the session; tokens are what the ledger counts.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

MINUTE: Final = 60
SLEEPS: Final = (5, 10, 15, 20, 30, 60)  # seconds between two looks of an agent that polls


class Asked(NamedTuple):
    """A request: when, of which agent and model, and its tokens."""

    second: float
    agent: str
    model: str
    input: int
    output: int


Session = Callable[[Any, float], Iterator[Asked]]


def coding(rng: Any, seconds: float) -> Iterator[Asked]:
    """Somebody's work: tool calls that lead on, small calls beside them, retries, and now and then looks at a job."""
    at, size = rng.uniform(0, 30), int(rng.uniform(12_000, 30_000))
    while at < seconds:
        kind = rng.random()
        if kind < 0.004:
            for one in _polling(rng, at, size, sleep=int(rng.choice(SLEEPS)), lasts=_build(rng)):
                yield one
                at, size = one.second, one.input
        elif kind < 0.015:
            # a client that hung up asks again: SDKs twice, Claude Code up to ten times
            for _ in range(int(rng.integers(1, 11))):
                yield Asked(at, "", "large", size, _output(rng))
                at += rng.uniform(1, 20)
        elif kind < 0.08:
            yield Asked(at, "", "small", int(rng.normal(600, 120)), int(rng.integers(4, 24)))
        output = _output(rng)
        yield Asked(at, "", "large", size, output)
        at += 2 + output / rng.uniform(40, 90) + rng.exponential(5)
        at += rng.uniform(60, 600) if rng.random() < 0.02 else 0  # the person reads
        size += output + int(rng.lognormal(6, 1.2))
        size = 20_000 if size > 160_000 else size  # compacted


def waiting(rng: Any, seconds: float) -> Iterator[Asked]:
    """An agent that waits for builds most of its time."""
    at, size = rng.uniform(0, 30), 20_000
    while at < seconds:
        for one in _polling(rng, at, size, sleep=int(rng.choice(SLEEPS)), lasts=_build(rng)):
            yield one
            at, size = one.second, one.input
        for _ in range(int(rng.integers(3, 15))):
            output = _output(rng)
            yield Asked(at, "", "large", size, output)
            at, size = at + rng.uniform(4, 15), size + output + int(rng.lognormal(6, 1.2))


def fanning(rng: Any, seconds: float) -> Iterator[Asked]:
    """An agent with ten sub-agents at a time, which begin with equally long prompts."""
    wave, at = 0, 0.0
    while at < seconds:
        first = int(rng.uniform(9_000, 12_000))
        for number in range(10):
            second, size = at + rng.uniform(0, 3), first
            for _ in range(int(rng.integers(4, 20))):
                output = _output(rng)
                yield Asked(second, f"a{wave}-{number}", "large", size, output)
                second, size = second + rng.uniform(4, 15), size + output + int(rng.lognormal(6, 1.2))
        wave, at = wave + 1, at + rng.uniform(120, 400)


def classifying(rng: Any, seconds: float) -> Iterator[Asked]:
    """A run that asks the same of many texts, four at a time, and gets answers of nearly one length."""
    at, pace = 0.0, rng.uniform(0.7, 4)
    while at < seconds:
        yield Asked(at, "", "small", int(rng.normal(420, 90)), int(rng.normal(21, 2)))
        at += rng.exponential(pace)


def editing(rng: Any, seconds: float) -> Iterator[Asked]:
    """Edit after edit, most of which are answered with one of three equally long lines."""
    at, size, lines = rng.uniform(0, 30), 20_000, [int(rng.uniform(15, 90)) for _ in range(3)]
    while at < seconds:
        output = _output(rng)
        yield Asked(at, "", "large", size, output)
        at += 2 + output / rng.uniform(40, 90) + rng.exponential(3)
        at += rng.uniform(60, 600) if rng.random() < 0.01 else 0
        size += output + (int(rng.choice(lines)) if rng.random() < 0.6 else int(rng.lognormal(6, 1.2)))
        size = 20_000 if size > 160_000 else size


def repeating(rng: Any, seconds: float) -> Iterator[Asked]:
    """A loop that forgets: the same request again as soon as it is answered."""
    pace, size = rng.uniform(2, 12), int(rng.uniform(2_000, 40_000))
    yield from (Asked(at, "", "large", size, _output(rng)) for at in _beats(rng, pace, seconds))


def appending(rng: Any, seconds: float) -> Iterator[Asked]:
    """A loop that remembers: the same tool call with the same error, appended each time."""
    pace, size, output = rng.uniform(3, 12), int(rng.uniform(10_000, 40_000)), int(rng.uniform(30, 250))
    grows = output + int(rng.uniform(20, 400))
    for at in _beats(rng, pace, seconds):
        differs = int(rng.random() < 0.1) * int(rng.integers(-9, 9))
        yield Asked(at, "", "large", size, output + differs)
        size += grows + differs


def alternating(rng: Any, seconds: float) -> Iterator[Asked]:
    """A loop of two steps: the same edit, the same test that fails."""
    pace, size = rng.uniform(3, 12), int(rng.uniform(10_000, 40_000))
    outputs = [int(rng.uniform(30, 250)) for _ in range(2)]
    for number, at in enumerate(_beats(rng, pace, seconds)):
        yield Asked(at, "", "large", size, outputs[number % 2])
        size += outputs[number % 2] + 120


def thinking(rng: Any, seconds: float) -> Iterator[Asked]:
    """A loop that thinks: each answer is of another length, and the same error is appended to it."""
    pace, size, adds = rng.uniform(3, 12), int(rng.uniform(10_000, 40_000)), int(rng.uniform(40, 600))
    middle, spread = np.log(rng.uniform(60, 400)), rng.uniform(0.15, 0.5)
    for at in _beats(rng, pace, seconds):
        output = int(np.clip(rng.lognormal(middle, spread), 8, 4_000))
        yield Asked(at, "", "large", size, output)
        size += output + adds


def forgetting(rng: Any, seconds: float) -> Iterator[Asked]:
    """A loop that thinks, and whose thoughts are not sent again."""
    pace, size = rng.uniform(3, 12), int(rng.uniform(10_000, 40_000))
    call, result = int(rng.uniform(30, 120)), int(rng.uniform(40, 600))
    for at in _beats(rng, pace, seconds):
        yield Asked(at, "", "large", size, call + int(rng.lognormal(5, 0.6)))
        size += call + result


def polling_every(sleep: int) -> Session:
    """An agent that does nothing but look, every so many seconds, for twenty minutes."""

    def polling(rng: Any, seconds: float) -> Iterator[Asked]:
        return _polling(rng, 0.0, 20_000, sleep=sleep, lasts=min(seconds, 20 * MINUTE))

    return polling


WORK: Final[dict[str, Session]] = {
    one.__name__: one for one in (coding, editing, waiting, fanning, classifying)
}
LOOPS: Final[dict[str, Session]] = {
    one.__name__: one for one in (repeating, appending, alternating, thinking, forgetting)
}
POLLS: Final[dict[str, Session]] = {f"every {sleep} s": polling_every(sleep) for sleep in SLEEPS}


def _polling(rng: Any, at: float, size: int, *, sleep: int, lasts: float) -> Iterator[Asked]:
    """The same short tool call after each sleep; now and then what it sees makes the agent say something else."""
    output, grows, until = int(rng.uniform(25, 90)), int(rng.uniform(80, 300)), at + lasts
    while at < until:
        differs = int(rng.random() < 0.15) * int(rng.integers(-9, 40))
        yield Asked(at, "", "large", size, output + differs)
        size += grows + output + differs
        at += sleep + rng.uniform(2, 6)


def _build(rng: Any) -> float:
    return float(rng.uniform(2, 30) * MINUTE)


def _beats(rng: Any, pace: float, seconds: float) -> Iterator[float]:
    at = 0.0
    while at < seconds:
        yield at
        at += pace * rng.uniform(0.7, 1.5)


def _output(rng: Any) -> int:
    return int(np.clip(rng.lognormal(5, 1), 8, 8_000))
