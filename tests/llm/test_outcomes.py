"""What a client is told to do about each outcome, and in which words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

import llm.urls  # noqa: F401 whatever can be refused is imported
from billing.budgets.balances import BudgetExceeded
from llm.errors import (
    ContextLengthExceeded,
    FeatureSwitchedOff,
    ModelSwitchedOff,
    envelope,
    error_headers,
)
from llm.providers.errors import ProviderRejected, ProviderUnavailable
from tenants.errors import ClientError, RateLimitExceeded

REFUSED_AGAIN = {400, 401, 402, 403, 404, 405, 413, 415, 426}


def outcomes(of: type[ClientError] = ClientError) -> Iterator[type[ClientError]]:
    yield of
    for one in of.__subclasses__():
        yield from outcomes(one)


def told(outcome: type[ClientError], **facts: Any) -> ClientError:
    """An outcome of the class, whatever its own constructor asks for."""
    error = outcome.__new__(outcome)
    ClientError.__init__(error, "No.", **facts)
    return error


@pytest.mark.parametrize("outcome", sorted(set(outcomes()), key=lambda one: one.__qualname__))
@pytest.mark.parametrize("seconds", [None, 0, 1, 59, 60, 61, 7_200, 111_482])
def test_an_sdk_hears_whether_and_when_to_try_again(outcome: type[ClientError], seconds: int | None) -> None:
    error = told(outcome, retry_after_seconds=seconds)
    headers = error_headers(error)
    only_a_person_ends_it = error.code == "budget_exceeded" or issubclass(outcome, ModelSwitchedOff)
    is_final = getattr(error, "status", 0) in REFUSED_AGAIN or only_a_person_ends_it
    assert headers.get("x-should-retry") == ("false" if is_final else None)
    if seconds is None or (is_final and seconds > 60):
        assert "retry-after" not in headers
    else:
        assert headers["retry-after"] == str(min(seconds, 60))


def test_an_outcome_of_this_one_request_may_be_final_too() -> None:
    assert "x-should-retry" not in error_headers(RateLimitExceeded("Later.", retry_after_seconds=3))
    assert error_headers(RateLimitExceeded("Never.", recurs=True))["x-should-retry"] == "false"
    assert "x-should-retry" not in error_headers(ProviderUnavailable("Busy."))
    assert (
        error_headers(ProviderRejected("No.", status=400, code="invalid_request"))["x-should-retry"]
        == "false"
    )


@pytest.mark.parametrize("ends_in", [timedelta(seconds=20), timedelta(hours=31), None])
def test_a_budget_says_when_it_begins_anew(ends_in: timedelta | None) -> None:
    resets_at = datetime.now(UTC) + ends_in if ends_in else None
    balance: Any = SimpleNamespace(
        resets_at=resets_at,
        remaining=Decimal("0.10"),
        unit="usd",
        unit_name="USD",
        scope="user",
        subject="alice",
        period="day",
        limit=Decimal(1),
        spent=Decimal("0.9"),
        held=Decimal(0),
        describe=lambda: "user budget 'alice' of 1 USD per day",
    )
    error = BudgetExceeded(balance, needed=Decimal("0.2"))
    headers = error_headers(error)
    assert headers["x-should-retry"] == "false"
    assert ("retry-after" in headers) == (ends_in == timedelta(seconds=20))
    if resets_at:
        assert headers["x-purser-budget-resets-at"] == f"{resets_at:%Y-%m-%dT%H:%M:%SZ}"
        assert headers["x-purser-budget-resets-at"] in error.message
    else:
        assert "x-purser-budget-resets-at" not in headers
    assert FeatureSwitchedOff("Off.").response_headers()["x-should-retry"] == "false"


def test_a_prompt_too_long_is_told_in_the_words_that_clients_look_for() -> None:
    error = ContextLengthExceeded(tokens=252_009, most_tokens=200_000, model="claude-opus-4-5")
    by_anthropic = orjson.loads(envelope(error, api="anthropic"))["error"]
    assert by_anthropic["message"] == "prompt is too long: 252009 tokens > 200000 maximum"
    assert (by_anthropic["type"], by_anthropic["code"]) == (
        "invalid_request_error",
        "context_length_exceeded",
    )
    by_openai = orjson.loads(envelope(error, api="openai"))["error"]
    assert by_openai["message"] == (
        "This model's maximum context length is 200000 tokens. However, your messages resulted in 252009 tokens."
    )
    assert (by_openai["code"], by_openai["param"]) == ("context_length_exceeded", "messages")
