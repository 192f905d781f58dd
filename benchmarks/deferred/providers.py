"""Providers that take as long as published: how long each lane of a model takes at a moment of a simulated month.

Invariant: equal seeds give equal delays, whatever is asked of them and in whatever order: so the clairvoyant and the product meet
the same provider.
"""

import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

HOUR, DAY = 3_600.0, 86_400.0
WINDOW_SECONDS = 24 * HOUR  # a provider ends a batch then
MOST_TAKING_BACK = 600.0
SLOT_SECONDS = 30.0  # the batches of a moment take equally long


@dataclass(frozen=True, slots=True)
class Provider:
    """A model at a provider. `median` and `spread` (of the logarithm) are of its batches; `slowness` multiplies them."""

    name: str
    title: str
    median: float
    spread: float
    slowness: Callable[[float], float] = lambda at: 1.0
    flex_refused: float = 0.0  # share of calls in flex that find no room

    def batch(self, at: float) -> float:
        """How long a batch takes that is submitted at that moment; longer than the provider's window, it expires."""
        chance = self._chance("batch", at // SLOT_SECONDS)
        return chance.lognormvariate(math.log(self.median), self.spread) * self.slowness(at)

    def taking_back(self, at: float) -> float:
        """How long the provider takes to cancel a batch."""
        chance = self._chance("taking back", at // SLOT_SECONDS)
        return min(MOST_TAKING_BACK, chance.lognormvariate(math.log(45), 1.0))

    def flex(self, job: int) -> float:
        """How long a call in flex takes; infinite where the provider has no room for it."""
        chance = self._chance("flex", job)
        seconds = chance.lognormvariate(math.log(30), 1.2)
        return math.inf if chance.random() < self.flex_refused else seconds

    def online(self, job: int, try_: int = 0) -> float:
        """How long a call in real time takes."""
        return self._chance("online", job, try_).lognormvariate(math.log(5), 0.9)

    def _chance(self, *what: object) -> random.Random:
        digest = hashlib.blake2b(repr((self.name, what)).encode(), digest_size=8).digest()
        return random.Random(int.from_bytes(digest))


def _from_day(day: int, factor: float) -> Callable[[float], float]:
    return lambda at: factor if at >= day * DAY else 1.0


PROVIDERS = (
    Provider("published", "as published: half within 20 min, a tail to 24 h", 20 * 60, 1.8),
    Provider("quick", "quicker: half within 4 min", 4 * 60, 1.0),
    Provider("slow", "slower: half within 3 h", 3 * HOUR, 1.0),
    Provider("steady", "nearly always within an hour: half within 25 min", 25 * 60, 0.6),
    Provider("turns", "turns slow on day 10: eight times", 15 * 60, 1.0, _from_day(10, 8.0)),
    Provider(
        "recovers",
        "is slow until day 10: eight times",
        15 * 60,
        1.0,
        lambda at: 1.0 if at >= 10 * DAY else 8.0,
    ),
    Provider("flex", "with flex, of which a tenth is refused", 20 * 60, 1.8, flex_refused=0.1),
)
