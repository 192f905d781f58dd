"""A circuit breaker: stops asking a deployment that keeps failing, and finds out when it is well again.

Invariant: pure and immutable; time is passed in as seconds of one monotonic clock. While open nothing is let
through; while half open, one probe at a time.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """How many failures in a row open it, and for how long; each failed probe doubles that."""

    failures: int = 5
    open_seconds: float = 5.0
    longest_open_seconds: float = 120.0
    probe_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """One deployment's state."""

    state: State = State.CLOSED
    failures: int = 0
    openings: int = 0
    until: float = 0.0  # open: when a probe may go; half open: when the probe counts as lost

    def permits(self, now: float) -> bool:
        """Whether a call may go now. One that does must be told with `begun`."""
        return self.state is State.CLOSED or now >= self.until

    def begun(self, now: float, policy: BreakerPolicy) -> "Breaker":
        """A permitted call goes out; the first after an open time is the probe."""
        if self.state is State.CLOSED:
            return self
        return replace(self, state=State.HALF_OPEN, until=now + policy.probe_seconds)

    def succeeded(self) -> "Breaker":
        """A call was answered. While open that was an old call: only a probe closes."""
        return self if self.state is State.OPEN else Breaker()

    def failed(self, now: float, policy: BreakerPolicy) -> "Breaker":
        """A call failed in a way that speaks against the deployment."""
        if self.state is State.OPEN:
            return self
        failures = self.failures + 1
        if self.state is State.CLOSED and failures < policy.failures:
            return replace(self, failures=failures)
        seconds = min(policy.longest_open_seconds, policy.open_seconds * 2**self.openings)
        return Breaker(State.OPEN, failures, self.openings + 1, now + seconds)

    def abandoned(self, now: float) -> "Breaker":
        """A call ended without telling anything (it was cancelled, or refused for its own faults)."""
        return replace(self, state=State.OPEN, until=now) if self.state is State.HALF_OPEN else self
