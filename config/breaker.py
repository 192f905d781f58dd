"""A circuit breaker: stops calls to something that keeps failing, and probes when it works again.

The only such state machine of the product: `llm.providers.health` has one for each deployment, `caching.circuit` one
for each dependency of the cache.

Invariant: pure and immutable. Time is passed in, as seconds of one monotonic clock. While open no call is permitted;
while half open, one probe at a time.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from config.values import value_type

_MOST_DOUBLINGS: Final = 32  # more would not fit a float, after a day of failed probes


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """How many failures in a row open it, and for how long. Each failed probe doubles that time, up to the longest."""

    failures: int = 5
    open_seconds: float = 5.0
    longest_open_seconds: float = 120.0
    probe_seconds: float = 60.0


@value_type
class Breaker:
    """The state of one deployment or dependency."""

    state: State = State.CLOSED
    failures: int = 0
    openings: int = 0
    until: float = 0.0  # open: when a probe may go; half open: when the probe counts as lost

    def permits(self, now: float) -> bool:
        """Whether a call may be made now. Report a call that is made with `begun`."""
        return self.state is State.CLOSED or now >= self.until

    def begun(self, now: float, policy: BreakerPolicy) -> "Breaker":
        """A permitted call begins. The first one after the open time is the probe."""
        if self.state is State.CLOSED:
            return self
        return replace(self, state=State.HALF_OPEN, until=now + policy.probe_seconds)

    def succeeded(self) -> "Breaker":
        """A call succeeded. While open it was an earlier call: only a probe closes the breaker."""
        return self if self.state is State.OPEN else WELL

    def failed(self, now: float, policy: BreakerPolicy) -> "Breaker":
        """A call failed in a way that counts as a failure of the deployment or dependency."""
        if self.state is State.CLOSED and self.failures + 1 < policy.failures:
            return replace(self, failures=self.failures + 1)
        return self.opened(now, policy)

    def opened(self, now: float, policy: BreakerPolicy) -> "Breaker":
        """A call failed in a way that leaves no doubt: open immediately."""
        if self.state is State.OPEN:
            return self
        doubled = policy.open_seconds * 2 ** min(self.openings, _MOST_DOUBLINGS)
        until = now + min(policy.longest_open_seconds, doubled)
        return Breaker(State.OPEN, self.failures + 1, self.openings + 1, until)

    def abandoned(self, now: float) -> "Breaker":
        """A call ended without a result for the breaker: it was cancelled, or refused for its own faults."""
        return replace(self, state=State.OPEN, until=now) if self.state is State.HALF_OPEN else self


WELL: Final = Breaker()
