"""Which of a client's headers a provider gets to see.

Invariant: an open list of the provider's own names (`anthropic-*`, `openai-*`), so that a feature of tomorrow passes; none
that names a credential, an account, an organisation or a bill, and none to a provider that is asked in another protocol
than the client's.
"""

import re
from collections.abc import Mapping
from typing import Final

_OF: Final = {kind: re.compile(rf"{kind}-[a-z0-9-]+") for kind in ("openai", "anthropic")}
_OURS: Final = re.compile(
    r"key|token|auth|secret|credential|cookie|password|bearer|signature"
    r"|organization|organisation|(?:^|-)org(?:-|$)|project|workspace|account|billing|tenant"
)


def may_pass(name: str, *, kind: str) -> bool:
    """Whether a header may go to a provider of this kind."""
    name = name.lower()
    return _OF[kind].fullmatch(name) is not None and _OURS.search(name) is None


def passed_on_headers(headers: Mapping[str, str], *, api: str) -> dict[str, str]:
    """What of the headers of a client that speaks `api` may go to a provider of its protocol."""
    kind = api.partition(".")[0]
    return {name.lower(): value for name, value in headers.items() if may_pass(name, kind=kind)}
