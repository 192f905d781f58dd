"""How a call to a provider can end other than with an answer.

Invariant: every failure says whether to try again and whether the provider may have produced something it
bills; its message is the provider's own, without anything that looks like a credential.
"""

import re
from collections.abc import Mapping
from typing import Any

from llm.prompt_too_long import in_words_of
from tenants.errors import Api, ClientError

LONGEST_MESSAGE = 1000

_SECRET = re.compile(
    r"(?i)bearer\s+\S+"
    r"|\b(?:sk|rk|pk|psr|xai|gsk)[-_][\w*.-]{4,}"
    r"|\bkey[-_](?=[\w*.-]*\d)[\w*.-]{8,}"  # a field's name has no digit
    r"|\bAIza[\w-]{16,}"
    r"|\b(?:org|proj)[-_]\w{8,}"
    r"|(?<=://)[^/\s@]+:[^/\s@]+@"
)


class ProviderFailure(ClientError):
    """Base of the outcomes below.

    `retryable`: the same call may succeed later. `sent`: the request may have reached the provider.
    `may_be_billed`: it may have worked on it and charge for it, so the hold is estimated, not voided.
    `received`: what came in place of an answer and reports its usage: it is billed.
    """

    status, code, type = 502, "provider_error", "api_error"

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        sent: bool = True,
        may_be_billed: bool = False,
        upstream_status: int | None = None,
        upstream_request_id: str = "",
        param: str | None = None,
        facts: dict[str, Any] | None = None,
        received: dict[str, Any] | None = None,
    ) -> None:
        seconds = None if retry_after is None else max(1, round(retry_after))
        super().__init__(message, param=param, retry_after_seconds=seconds, facts=facts)
        self.retryable = retryable
        self.retry_after = retry_after
        self.sent = sent
        self.may_be_billed = may_be_billed
        self.upstream_status = upstream_status
        self.upstream_request_id = upstream_request_id
        self.received = received

    @property
    def reason(self) -> str:
        """In a few words: its code, and the status that the provider gave it."""
        return f"{self.code} ({self.upstream_status})" if self.upstream_status else self.code

    def to_receipt(self) -> dict[str, Any]:
        """What a receipt says about it: those of its fields that a person asks for, by name."""
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "sent": self.sent,
            "may_be_billed": self.may_be_billed,
            "upstream_status": self.upstream_status,
            "upstream_request_id": self.upstream_request_id,
        }


class ProviderError(ProviderFailure):
    """The provider failed, or answered what is no answer."""


class ProviderUnavailable(ProviderFailure):
    """The provider cannot be reached, is overloaded, or limits us."""

    status, code, type = 503, "provider_unavailable", "api_error"


class ProviderTimeout(ProviderFailure):
    """The provider took longer than we wait: to connect, to begin, or to finish."""

    status, code, type = 504, "provider_timeout", "timeout_error"


class ProviderRejected(ProviderFailure):
    """The provider refuses this request, and would each time: the client has to change it."""

    type = "invalid_request_error"

    def __init__(self, message: str, *, status: int, code: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.status, self.code = status, code

    def message_for(self, api: Api) -> str:
        return in_words_of(api, self.message) if self.code == "context_length_exceeded" else self.message


class StreamBroken(ProviderFailure):
    """A stream ended before its end. What came is billed. `stated`: the provider's own error, if it ended with one."""

    def __init__(
        self,
        message: str,
        *,
        timed_out: bool = False,
        stated: Mapping[str, Any] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **{"may_be_billed": True, **facts})
        self.stated = stated
        if timed_out:
            self.status, self.code, self.type = 504, "provider_timeout", "timeout_error"


class GatewayStopped(StreamBroken):
    """We stop, and the stream's time is over. What came is billed."""

    status, code = 503, "service_unavailable"


def without_secrets(message: str, *, api_key: str = "") -> str:
    """The provider's message as a client may see it."""
    if api_key:
        message = message.replace(api_key, "[redacted]")
    return _SECRET.sub("[redacted]", message)[:LONGEST_MESSAGE]
