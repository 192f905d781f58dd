"""How many calls a deployment had in the last hour, and how many of them failed.

Invariant: time is passed in as seconds of one clock; what is older than an hour is forgotten.
"""

from dataclasses import dataclass, field

MINUTES_KEPT = 60


@dataclass(slots=True)
class Tally:
    """Counts by the minute."""

    minutes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, now: float, *, failed: bool) -> None:
        minute = int(now // 60)
        if minute not in self.minutes:
            self._forget(minute)
        calls, failures = self.minutes.get(minute, (0, 0))
        self.minutes[minute] = calls + 1, failures + failed

    def last_hour(self, now: float) -> tuple[int, int]:
        """Calls, and failures among them."""
        self._forget(int(now // 60))
        calls, failures = zip(*self.minutes.values(), strict=True) if self.minutes else ((), ())
        return sum(calls), sum(failures)

    def _forget(self, minute: int) -> None:
        for old in [one for one in self.minutes if one <= minute - MINUTES_KEPT]:
            del self.minutes[old]
