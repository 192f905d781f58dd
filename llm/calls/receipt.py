"""The receipt of one request: every step taken, what it did and why.

Invariant: it holds figures, names and reasons, never a prompt, an answer or a secret.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Receipt:
    """Steps and attempts in the order they happened; milliseconds on the monotonic clock since arrival.

    A step is `{"step", "outcome", "at_ms"}` and that step's own facts, an attempt `{"attempt"}` (its number) and the facts
    that `AttemptPlan.to_receipt`, the provider's answer and the settlement add.
    """

    started: float = field(default_factory=time.perf_counter)
    steps: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    provider_ms: float = 0.0

    def note(self, step: str, outcome: str, **facts: Any) -> None:
        """Write down what a step did, and its facts: what `json_text` can write (JSON, Decimal, datetime, UUID)."""
        self.steps.append({"step": step, "outcome": outcome, "at_ms": self.elapsed_ms(), **facts})

    def note_attempt(self, number: int, **facts: Any) -> None:
        """Write down how an attempt went; what is learnt later of the same attempt joins its entry."""
        for entry in self.attempts:
            if entry["attempt"] == number:
                entry |= facts
                return
        self.attempts.append({"attempt": number, **facts})

    def elapsed_ms(self) -> float:
        return round((time.perf_counter() - self.started) * 1000, 2)

    @contextmanager
    def provider_time(self) -> Iterator[None]:
        """Count the time inside as the provider's, not ours."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.provider_ms += (time.perf_counter() - began) * 1000

    def server_timing(self) -> str:
        """The `server-timing` header: our share and the provider's, in milliseconds."""
        return f"purser;dur={self.overhead_ms():.2f}, provider;dur={self.provider_ms:.2f}"

    def overhead_ms(self) -> float:
        """Our share of the time since arrival."""
        return max(0.0, self.elapsed_ms() - self.provider_ms)
