"""Which of a client's headers a provider gets to see.

Invariant: an allow-list. Nothing on it chooses an account, an organisation or a bill.
"""

from collections.abc import Mapping
from typing import Final

PASSED_ON: Final = {
    "openai": frozenset({"openai-beta"}),
    "anthropic": frozenset({"anthropic-beta", "anthropic-version"}),
}
_EVERY: Final = frozenset().union(*PASSED_ON.values())


def passed_on_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a client's headers may go to a provider; the call itself picks those of its kind."""
    return {name.lower(): value for name, value in headers.items() if name.lower() in _EVERY}
