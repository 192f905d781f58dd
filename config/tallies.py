"""Counters that are counted in memory: Prometheus' own cost more than what they count, where all workers share files.

Invariant: Prometheus learns of everything that was counted, within a second; only a killed process loses its last one.
Labels are bounded. Used on the event loop only.
"""

from collections.abc import Sequence

from prometheus_client import Counter, Histogram

from config.write_behind import write_behind

Labels = tuple[str | int, ...]


class Tally:
    """A counter."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._counter = Counter(name, text, labels)
        self._counted: dict[Labels, float] = {}
        write_behind(self.write)

    def add(self, *labels: str | int, amount: float = 1) -> None:
        """Count under these labels, in the order of their names."""
        self._counted[labels] = self._counted.get(labels, 0) + amount

    def write(self) -> None:
        counted, self._counted = self._counted, {}
        for labels, amount in counted.items():
            self._counter.labels(*labels).inc(amount)


class Spread:
    """A histogram."""

    def __init__(self, name: str, text: str, labels: Sequence[str], *, buckets: Sequence[float]) -> None:
        self._histogram = Histogram(name, text, labels, buckets=buckets)
        self._observed: dict[Labels, list[float]] = {}
        write_behind(self.write)

    def add(self, *labels: str | int, amount: float) -> None:
        """Observe an amount under these labels, in the order of their names."""
        self._observed.setdefault(labels, []).append(amount)

    def write(self) -> None:
        observed, self._observed = self._observed, {}
        for labels, amounts in observed.items():
            child = self._histogram.labels(*labels)
            for amount in amounts:
                child.observe(amount)
