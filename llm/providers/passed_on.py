"""Which of a client's headers a provider gets to see.

Invariant: an open list of the names that its kind takes (`ProviderKind.passed_on`), so that a feature of tomorrow passes;
none that names a credential, an account, an organisation or a bill, and none to a provider that is asked in another
protocol than the client's.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from llm.providers.kinds import KINDS

_NAME: Final = re.compile(r"[a-z0-9-]+")
_OURS: Final = re.compile(
    r"key|token|auth|secret|credential|cookie|password|bearer|signature"
    r"|organization|organisation|(?:^|-)org(?:-|$)|project|workspace|account|billing|tenant"
)


def may_pass(name: str, *, prefixes: tuple[str, ...]) -> bool:
    """Whether a header may go to a provider that takes those that begin so."""
    name = name.lower()
    is_taken = name.startswith(prefixes) and name not in prefixes and _NAME.fullmatch(name) is not None
    return is_taken and _OURS.search(name) is None


def passed_on_headers(headers: Mapping[str, str], *, api: str) -> dict[str, str]:
    """What of the headers of a client that speaks `api` may go to some kind of provider that speaks it, too. Each gets its
    own part of them: `outgoing`."""
    prefixes = prefixes_of(api)
    likely = {name.lower(): value for name, value in headers.items() if name.lower().startswith(prefixes)}
    return {name: value for name, value in likely.items() if may_pass(name, prefixes=prefixes)}


@cache
def prefixes_of(api: str) -> tuple[str, ...]:
    speaking = (kind for kind in KINDS.values() if kind.answers.get(api) == api)
    return tuple({prefix for kind in speaking for prefix in kind.passed_on})
