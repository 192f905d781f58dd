"""Decides when to try again, and how long to wait before.

Invariant: pure. Exponential backoff with full jitter; the provider's Retry-After is a floor under it,
never ignored.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from llm.providers.errors import ProviderFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently."""

    max_attempts: int = 3
    base_seconds: float = 0.25
    cap_seconds: float = 8.0
    longest_retry_after_seconds: float = 20.0


DEFAULT = RetryPolicy()


def should_retry(attempt: int, failure: ProviderFailure, *, policy: RetryPolicy = DEFAULT) -> bool:
    """Whether a further try of the same deployment is worth it. `attempt` counts from 1.

    Only failures before the first byte come here; 408, 409, 429, 5xx and broken connections are retryable,
    other 4xx never. A provider that wants us away for longer than we would keep a client waiting is not
    tried again.
    """
    if not failure.retryable or attempt >= policy.max_attempts:
        return False
    return (failure.retry_after or 0.0) <= policy.longest_retry_after_seconds


def retry_delay(
    attempt: int,
    *,
    retry_after: float | None = None,
    policy: RetryPolicy = DEFAULT,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Seconds to wait after failed try number `attempt` (from 1)."""
    ceiling = min(policy.cap_seconds, policy.base_seconds * 2 ** (attempt - 1))
    if retry_after is not None:
        return retry_after + uniform(0.0, policy.base_seconds)
    return uniform(0.0, ceiling)
