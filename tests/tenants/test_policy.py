"""Policies: complete, frozen, and refused with the path of what is wrong."""

import time
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tenants.patterns import TIMED_OUT, check_patterns, is_found
from tenants.policy import InvalidPolicy, PressureRule, RateLimits, parse_policy, parse_rate_limits


def test_it_works() -> None:
    policy = parse_policy(
        {"cache": {"semantic": "static", "threshold": 0.9}, "compression": {"enabled": True}}
    )
    assert policy.cache.semantic == "static"
    assert policy.cache.threshold == 0.9
    assert policy.cache.ttl_seconds == 86_400
    assert policy.compression.enabled


def test_an_empty_policy_is_the_contracts_example() -> None:
    policy = parse_policy({})
    assert (policy.cache.exact, policy.cache.semantic, policy.cache.max_error_rate) == (True, "bounded", 0.02)
    assert (policy.routing.enabled, policy.routing.default_tier) == (True, "standard")
    assert not policy.compression.enabled
    assert policy.pressure == (
        PressureRule(at_percent=90, demote="complex"),
        PressureRule(at_percent=95, only="simple"),
    )
    assert not policy.log_prompts


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"cash": {}}, "policy.cash: is not known here"),
        ({"cache": {"exact": "yes"}}, "policy.cache.exact: must be true or false, not 'yes'"),
        (
            {"cache": {"semantic": "fuzzy"}},
            "policy.cache.semantic: must be 'off', 'dry_run', 'static' or 'bounded'",
        ),
        ({"cache": {"ttl_seconds": 0}}, "policy.cache.ttl_seconds: must be at least 1, not 0"),
        ({"cache": {"max_error_rate": "0.1"}}, "policy.cache.max_error_rate: must be a number, not '0.1'"),
        ({"cache": []}, "policy.cache: must be a block of keys and values"),
        ({"pressure": [{"at_percent": 90}]}, "policy.pressure[0]: needs exactly one of demote and only"),
        ({"pressure": [{"at_percent": 90, "only": "cheap"}]}, "policy.pressure[0].only: must be 'simple'"),
        ({"features_off_at": {"hints": 0}}, "policy.features_off_at.hints: must be above 0"),
        ({"user_rate_limits": {"rpm": 0}}, "policy.user_rate_limits.rpm: must be at least 1"),
        ([], "policy: must be a block of keys and values"),
    ],
)
def test_a_wrong_field_is_named(policy: Any, message: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        parse_policy(policy)
    assert str(caught.value).startswith(message)


def test_a_policy_cannot_be_edited() -> None:
    with pytest.raises(FrozenInstanceError):
        parse_policy({}).cache.exact = False  # type: ignore[misc]


def test_features_switch_off_under_pressure() -> None:
    policy = parse_policy({"features_off_at": {"hints*": 90}})
    assert policy.feature_is_off("hints-beta", used_percent=90)
    assert not policy.feature_is_off("hints-beta", used_percent=89.9)
    assert not policy.feature_is_off("answers", used_percent=100)


def test_rate_limits_name_the_wrong_one() -> None:
    assert parse_rate_limits({"rpm": 5}) == RateLimits(rpm=5)
    assert not parse_rate_limits({})
    with pytest.raises(ValueError, match=r"rate_limits\.rps: is not known here"):
        parse_rate_limits({"rps": 5})


def checked(*patterns: str) -> None:
    check_patterns(parse_policy({"cache": {"bypass_patterns": list(patterns)}}))


def test_patterns_that_would_take_for_ever_are_not_saved() -> None:
    checked(r"\bmy account\b", r"^order \d+$", "(?:refund|return)s?")
    for slow in ("(a+)+$", r"(\w+\s?)*!", "(x|xx)+y", r"([a-c]|b)+d"):
        with pytest.raises(InvalidPolicy, match=r"bypass_patterns\[0\]: takes too long"):
            checked(slow)
    with pytest.raises(InvalidPolicy, match="at most 50 patterns"):
        checked(*["x"] * 51)
    with pytest.raises(InvalidPolicy, match="longer than 1000 characters"):
        checked("x" * 1001)
    with pytest.raises(InvalidPolicy, match="is no regular expression"):
        checked("(")


def test_a_pattern_that_takes_too_long_counts_as_found() -> None:
    before = TIMED_OUT._value.get()
    start = time.process_time()
    assert is_found(("(a+)+$",), "a" * 5_000 + "!")
    assert time.process_time() - start < 1
    assert TIMED_OUT._value.get() == before + 1
    assert is_found(("nothing", "ACCOUNT"), "my account")
    assert not is_found(("nothing",), "my account")
