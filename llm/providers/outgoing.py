"""What goes out to a provider: the request's body, which knows whether any of it has left, and its headers.

Invariant: a request whose body has not begun to leave was not sent: the provider cannot have worked on it. Of a client's headers
only those that choose features go out, and only if they can be written.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import BytesPayload
from aiohttp.abc import AbstractStreamWriter

from llm.errors import InvalidRequest
from llm.providers.passed_on import may_pass
from llm.providers.target import Target

# what no header may carry: control characters but the tab, and halves of surrogate pairs
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class Outgoing(BytesPayload):
    """A request's body on its way. `is_sent` once its first byte may have gone out."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")
        self.is_sent = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self.is_sent = True
        await super().write_with_length(writer, content_length)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.is_sent = True
        await super().write(writer)


def headers_for(target: Target, headers: Mapping[str, str], *, streamed: bool) -> dict[str, str]:
    """The headers of a call: our credentials, and of the client's only what chooses features. Raises InvalidRequest for a
    value of the client's that cannot be written, ValueError for our own key."""
    if _UNWRITABLE.search(target.api_key):
        raise ValueError("no header can carry the account's key")
    sent = {
        "content-type": "application/json",
        "accept": "text/event-stream" if streamed else "application/json",
        "accept-encoding": "identity",  # a compressed stream arrives in lumps
        "user-agent": "purser",
    }
    passed_on = {
        name.lower(): _writable(name, value)
        for name, value in headers.items()
        if may_pass(name, prefixes=target.kind.passed_on)
    }
    return sent | target.kind.auth_headers(target.api_key) | passed_on


def _writable(name: str, value: Any) -> str:
    if not isinstance(value, str) or _UNWRITABLE.search(value):
        raise InvalidRequest(f"Header {name} has characters that no header may have.", param=name)
    return value
