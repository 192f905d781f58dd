"""No regular expression of ours does more than linear work, whatever text it is given."""

import re
from functools import partial
from typing import Any

import pytest

from tests.linear.adversaries import plans_against
from tests.linear.growth import grows_too_fast
from tests.linear.patterns import all_patterns

PATTERNS = all_patterns()


def test_it_works() -> None:
    """The check finds what it is for: an opener that is never closed, a run that never ends, a nest."""
    for bad in (r"<(a|b)>.*?</\1>", r"[a-z]+@", r"\s+$", r"“[^”]+”", r"(?:a+)+$"):
        assert verdict(re.compile(bad, re.DOTALL)), bad


def test_patterns_are_found_wherever_they_are() -> None:
    assert len(PATTERNS) > 60


@pytest.mark.parametrize("where", PATTERNS)
def test_every_pattern_is_linear(where: str) -> None:
    assert verdict(PATTERNS[where]) == ""


def verdict(pattern: "re.Pattern[Any]") -> str:
    """The first way found to make the pattern do superlinear work."""
    for plan in plans_against(pattern):
        if told := grows_too_fast(lambda size, plan=plan: partial(_run, pattern, plan.text(size))):
            return f"{told}: {plan}"
    return ""


def _run(pattern: "re.Pattern[Any]", text: str) -> None:
    subject: Any = text if isinstance(pattern.pattern, str) else text.encode()
    for _ in pattern.finditer(subject):
        pass
    pattern.match(subject)
    pattern.fullmatch(subject)
