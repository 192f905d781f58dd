"""The regular expressions in tenants' policies: compiled once, and searched with a time limit.

Invariant: a search never raises and never takes longer than SECONDS of CPU for each pattern. A search that runs out of
time counts as found, because the patterns name questions that the cache must not answer.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import regex
from prometheus_client import Counter

from tenants.policy import InvalidPolicy, Policy

SECONDS = 0.02
MOST_PATTERNS = 50
LONGEST_PATTERN = 1_000
_TRIED_CHARACTERS = 3_000
_TRIED_SECONDS = 0.1

TIMED_OUT = Counter(
    "purser_policy_patterns_timed_out_total", "Searches for a tenant's patterns that took too long"
)


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> Any:
    return regex.compile(pattern, regex.IGNORECASE)


def is_found(patterns: Iterable[str], text: str) -> bool:
    """Whether one of the patterns matches the text, ignoring case. True if the search ran out of time."""
    try:
        return any(_compiled(pattern).search(text, timeout=SECONDS) for pattern in patterns)
    except (TimeoutError, regex.error):
        TIMED_OUT.inc()
        return True


def check_patterns(policy: Policy) -> None:
    """Raise InvalidPolicy for too many, too long or slow patterns. Called when a policy is saved."""
    patterns = policy.cache.bypass_patterns
    path = ("policy", "cache", "bypass_patterns")
    if len(patterns) > MOST_PATTERNS:
        raise InvalidPolicy(path, f"at most {MOST_PATTERNS} patterns are taken, not {len(patterns)}")
    for number, pattern in enumerate(patterns):
        if len(pattern) > LONGEST_PATTERN:
            raise InvalidPolicy((*path, number), f"is longer than {LONGEST_PATTERN} characters")
        if _is_slow(pattern):
            raise InvalidPolicy(
                (*path, number), "takes too long on some texts; repeat nothing that repeats itself"
            )


def _is_slow(pattern: str) -> bool:
    words = regex.findall(r"\w+", pattern)
    pumps = {*pattern, *words, *(f"{word} " for word in words), "a", "a ", "1", " "}
    tail = f"\x00{pattern} "  # all the pattern needs, but not where it would match
    try:
        for pump in pumps:
            text = pump * (_TRIED_CHARACTERS // len(pump)) + tail
            _compiled(pattern).search(text, timeout=_TRIED_SECONDS)
    except TimeoutError:
        return True
    return False
