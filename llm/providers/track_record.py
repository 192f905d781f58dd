"""A deployment's recent results: its share of the calls depends on them and on its weight.

Invariant: pure and immutable; time is passed in as seconds of one monotonic clock. What is long past counts less and
less, so that a deployment that was left alone is tried again.
"""

import math
from collections.abc import Mapping
from dataclasses import field, replace
from types import MappingProxyType

from config.values import value_type

LAST_CALL_COUNTS = 0.2  # of an average: about the last ten calls
FAILURES_HALVE_SECONDS = 30.0
ENOUGH_CALLS = 5  # before a time says anything
USUAL_SPREAD = 1.5  # slower than the best by less than this is no slower
LEAST_WORTH = 0.05


@value_type
class Pace:
    """A mean of seconds, and of how many calls it is."""

    seconds: float = 0.0
    calls: int = 0

    def with_call(self, seconds: float) -> "Pace":
        share = max(LAST_CALL_COUNTS, 1 / (self.calls + 1))
        return Pace(self.seconds + share * (seconds - self.seconds), self.calls + 1)


@value_type
class TrackRecord:
    """One deployment's record. Streams and whole answers have a pace each: a first byte is no whole answer."""

    failing: float = 0.0  # share of its calls, at `since`
    since: float = 0.0
    avoided_until: float = 0.0
    paces: Mapping[bool, Pace] = field(default_factory=lambda: MappingProxyType({}))

    def answered(self, now: float, *, seconds: float, streamed: bool) -> "TrackRecord":
        return self._judged(now, failed=False).took(seconds, streamed=streamed)

    def took(self, seconds: float, *, streamed: bool) -> "TrackRecord":
        """A call took so long, or longer: it was not waited for."""
        paces = {**self.paces, streamed: self.paces.get(streamed, Pace()).with_call(seconds)}
        return TrackRecord(self.failing, self.since, self.avoided_until, MappingProxyType(paces))

    def failed(self, now: float) -> "TrackRecord":
        return self._judged(now, failed=True)

    def avoided(self, until: float) -> "TrackRecord":
        """The provider wants to be left alone until then."""
        return replace(self, avoided_until=max(self.avoided_until, until))

    def failing_share(self, now: float) -> float:
        """The share of its calls that fail, as far as that still counts."""
        return self.failing * math.pow(0.5, (now - self.since) / FAILURES_HALVE_SECONDS)

    def worth(self, now: float, *, best_seconds: float | None, streamed: bool) -> float:
        """What its weight is multiplied with: 1 for a deployment that does as well as the best, 0 while to be avoided."""
        if now < self.avoided_until:
            return 0.0
        worth = (1.0 - self.failing_share(now)) ** 2
        seconds = self.seconds(streamed=streamed)
        if seconds and best_seconds and seconds > USUAL_SPREAD * best_seconds:
            worth *= USUAL_SPREAD * best_seconds / seconds
        return max(LEAST_WORTH, worth)

    def seconds(self, *, streamed: bool) -> float | None:
        """How long its answers take; None while too few are known."""
        pace = self.paces.get(streamed, Pace())
        return pace.seconds if pace.calls >= ENOUGH_CALLS else None

    def _judged(self, now: float, *, failed: bool) -> "TrackRecord":
        share = self.failing_share(now)
        failing = share + LAST_CALL_COUNTS * (failed - share)
        return TrackRecord(failing, now, self.avoided_until, self.paces)
