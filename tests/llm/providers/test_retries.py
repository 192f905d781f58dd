"""When a failed call is worth another try, and how long to wait before."""

from hypothesis import given
from hypothesis import strategies as st

from llm.providers.errors import ProviderError, ProviderRejected, ProviderUnavailable
from llm.providers.retries import DEFAULT, retry_delay, should_retry


def test_it_works() -> None:
    failure = ProviderError("overloaded", retryable=True)
    assert [should_retry(attempt, failure) for attempt in (1, 2, 3)] == [True, True, False]


def test_what_would_fail_each_time_is_not_tried_again() -> None:
    assert not should_retry(1, ProviderRejected("bad", status=400, code="invalid_request"))


def test_a_provider_that_wants_us_away_for_long_is_left_alone() -> None:
    assert should_retry(1, ProviderUnavailable("later", retryable=True, retry_after=5))
    assert not should_retry(1, ProviderUnavailable("later", retryable=True, retry_after=600))


@given(st.integers(1, 50))
def test_backoff_is_full_jitter_under_a_doubling_ceiling(attempt: int) -> None:
    ceiling = min(DEFAULT.cap_seconds, DEFAULT.base_seconds * 2 ** (attempt - 1))
    assert retry_delay(attempt, uniform=lambda low, high: low) == 0.0
    assert retry_delay(attempt, uniform=lambda low, high: high) == ceiling
    assert 0 <= retry_delay(attempt) <= ceiling


@given(st.integers(1, 50), st.floats(0, 100))
def test_retry_after_is_a_floor(attempt: int, seconds: float) -> None:
    assert seconds <= retry_delay(attempt, retry_after=seconds) <= seconds + DEFAULT.base_seconds
