"""Owns the log of calls received: the provider's invoice, call by call.

Invariant: every call that reached a provider endpoint is in the log from its first byte on, and what it
was billed is written once, when it ends, also when the client has gone.
"""

import hashlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from llm.sandbox.usage import Usage

DIGEST_CHARACTERS = 16
KEPT_BODIES, KEPT_BODY_BYTES = 1_000, 16 * 1024 * 1024


@dataclass(slots=True)
class Call:
    """One call received; `status` is None while it runs."""

    id: str
    at: float
    kind: str  # openai | anthropic
    method: str
    path: str
    key: str  # first characters of the SHA-256 of the API key
    body_digest: str
    fields: tuple[str, ...] = ()  # the names in the body, in their order
    betas: str = ""  # the header that asks for a provider's beta features
    model: str = ""
    stream: bool = False
    user: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""
    retry_count: int = 0
    request_id: str = ""
    upstream_id: str = ""
    processing: str = "online"
    batch_id: str = ""
    custom_id: str = ""
    service_tier: str = "default"
    max_tokens: int | None = None
    fault: str = ""
    status: int | None = None
    outcome: str = "open"  # open | completed | failed | disconnected | broken
    usage: str = "null"  # as the API reports it, in JSON
    billed: dict[str, int] = field(default_factory=dict)  # tokens by class, disjoint
    seconds: float = 0.0
    raw: bytes = field(default=b"", repr=False)  # the body, byte for byte, of the latest calls

    def bill(self, usage: Usage, reported: dict[str, Any]) -> None:
        """Put the call on the invoice."""
        self.billed = usage.meters()
        self.usage = orjson.dumps(reported).decode()  # orjson's bytes hold 4 KiB each until they are copied

    def described(self) -> dict[str, Any]:
        """The entry as `GET /control/calls` and the log file show it, for orjson."""
        return {name: getattr(self, name) for name in FIELDS} | {"usage": orjson.Fragment(self.usage)}

    def tags(self) -> set[str]:
        """What a caller may look its own calls up by."""
        return {self.key, self.user, self.idempotency_key, *map(str, self.metadata.values())} - {""}

    def matches(self, wanted: dict[str, str]) -> bool:
        """Whether the call has every value asked for; `tag` may be its key, user or any metadata value."""
        for name, value in wanted.items():
            if name == "tag":
                if value not in self.tags():
                    return False
            elif name == "key":
                if self.key not in (value, key_digest(value)):
                    return False
            elif str(getattr(self, name, None)) != value:
                return False
        return True


FIELDS = tuple(each.name for each in fields(Call) if each.name != "raw")


class CallLog:
    """The last calls in memory, and all of them in a file if one is named."""

    def __init__(self, *, capacity: int, path: Path | None = None) -> None:
        self._calls: deque[Call] = deque(maxlen=capacity)
        self._with_body: deque[Call] = deque()
        self._body_bytes = 0
        self._file = path.open("ab", buffering=0) if path else None

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, call: Call) -> None:
        """Take the call into the log."""
        self._calls.append(call)
        self._with_body.append(call)
        self._body_bytes += len(call.raw)
        while self._body_bytes > KEPT_BODY_BYTES or len(self._with_body) > KEPT_BODIES:
            oldest = self._with_body.popleft()
            self._body_bytes -= len(oldest.raw)
            oldest.raw = b""

    def body_of(self, call_id: str) -> bytes:
        """The body of a call as it came; empty when it had none or is not kept any more."""
        return next((call.raw for call in reversed(self._with_body) if call.id == call_id), b"")

    def finish(self, call: Call, *, status: int, outcome: str) -> None:
        """Close the call's entry; later ends of the same call change nothing."""
        if call.status is not None:
            return
        call.status, call.outcome = status, outcome
        call.seconds = round(time.time() - call.at, 6)
        if self._file:
            self._file.write(orjson.dumps(call.described()) + b"\n")

    def select(
        self, wanted: dict[str, str], *, since: float = 0.0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Calls in order of arrival, of those that match and came since then the last `limit`."""
        found = [call for call in self._calls if call.at >= since and call.matches(wanted)]
        return [call.described() for call in (found if limit is None else found[-limit:])]

    def forget(self, wanted: dict[str, str]) -> None:
        """Drop the calls that match; all of them when nothing is asked for."""
        if wanted:
            self._calls = deque(
                (call for call in self._calls if not call.matches(wanted)), maxlen=self._calls.maxlen
            )
        else:
            self._calls.clear()

    def close(self) -> None:
        """Write calls still open and close the file."""
        for call in self._calls:
            if call.status is None:
                self.finish(call, status=499, outcome="disconnected")
        if self._file:
            self._file.close()
            self._file = None


def key_digest(key: str) -> str:
    """How the log shows an API key."""
    return hashlib.sha256(key.encode()).hexdigest()[:DIGEST_CHARACTERS] if key else ""
