"""The errors that a client of the API can get, and the exceptions of this app among them.

Invariant: one exception class per error, with its own status and code. One handler in `llm` renders them in the
envelope of the API that was called. Messages never contain a secret.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final


class Api(StrEnum):
    """Whose API a client speaks: in its envelopes and headers it is answered. No kind of provider."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


# statuses that a retry of the same request would get again
RECURRING: Final = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 426})
LONGEST_RETRY_SECONDS: Final = 60  # some clients sleep for as long as `retry-after` says


class ClientError(Exception):
    """An error that the client gets. Subclasses are in the app that raises them.

    `facts` are for operators: the numbers behind the decision, as JSON types, Decimal or datetime. `tenant_id` and
    `key_id` are set if the caller was authenticated and then refused. `recurs`: whether a retry of the same request
    would get the error again; None: its status decides.
    """

    status: int = 400
    code: str = "invalid_request"
    type: str = "invalid_request_error"
    recurs: bool | None = None
    details: Mapping[str, Any] = {}  # further fields that Anthropic's clients read, if the error has them
    tenant_id: int | None = None
    key_id: int | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: int | None = None,
        headers: dict[str, str] | None = None,
        facts: dict[str, Any] | None = None,
        recurs: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.headers: dict[str, str] = dict(headers or {})
        self.facts: dict[str, Any] = dict(facts or {})
        if recurs is not None:
            self.recurs = recurs

    def message_for(self, api: Api) -> str:
        """The message for an API's clients. Only errors whose clients look for certain words override it."""
        return self.message

    def response_headers(self) -> dict[str, str]:
        """The error's own headers, and the headers that say whether and when an SDK should retry."""
        headers = dict(self.headers)
        recurs = self.status in RECURRING if self.recurs is None else self.recurs
        if recurs:
            headers["x-should-retry"] = "false"
        if self.retry_after_seconds is not None:
            seconds = max(0, self.retry_after_seconds)
            if not recurs or seconds <= LONGEST_RETRY_SECONDS:
                headers["retry-after"] = str(min(seconds, LONGEST_RETRY_SECONDS))
        return headers


class InvalidApiKey(ClientError):
    """No key, a malformed key, or an unknown key: the same error for all, on purpose."""

    status, code, type = 401, "invalid_api_key", "authentication_error"


class ExpiredApiKey(ClientError):
    """The right secret, but the key (or the grace period of its former secret) has ended."""

    status, code, type = 401, "expired_api_key", "authentication_error"


class RevokedApiKey(ClientError):
    """The right secret of a key an operator has revoked."""

    status, code, type = 401, "revoked_api_key", "authentication_error"


class TenantSuspended(ClientError):
    """The key is valid, but its tenant is not served at present."""

    status, code, type = 403, "tenant_suspended", "permission_error"


class IpNotAllowed(ClientError):
    """The key may not be used from this address."""

    status, code, type = 403, "ip_not_allowed", "permission_error"


class UserNotAllowed(ClientError):
    """The user is inactive, or the tenant serves only declared users and this one is not declared."""

    status, code, type = 403, "user_not_allowed", "permission_error"


class RightMissing(ClientError):
    """The key has not been given the right to read this."""

    status, code, type = 403, "right_missing", "permission_error"


class QuotaExceeded(ClientError):
    """The tenant has reached a storage quota."""

    status, code, type = 403, "quota_exceeded", "permission_error"


class ModelNotAllowed(ClientError):
    """The key's allow-list does not name the model."""

    status, code, type = 403, "model_not_allowed", "permission_error"


class RateLimitExceeded(ClientError):
    """A rate or concurrency limit of the tenant, key or user is reached."""

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"
