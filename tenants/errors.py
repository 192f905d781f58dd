"""What a client of the API can be told instead of an answer.

Invariant: one exception class per outcome, carrying its own status and code; one handler in `llm`
renders them in the envelope of the API that was called. Messages never hold a secret.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final


class Api(StrEnum):
    """Whose API a client speaks: in its envelopes and headers it is answered. No kind of provider."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


# the same request would meet these again, whenever it is sent
RECURRING: Final = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 426})
LONGEST_RETRY_SECONDS: Final = 60  # there are clients that sleep for as long as they are told


class ClientError(Exception):
    """An outcome the client sees. Subclasses live with the app that raises them.

    `facts` are for operators: the numbers it was decided by, in JSON's types, Decimal or datetime. `tenant_id` and
    `key_id` are set where the caller proved who it is and was refused all the same. `recurs` says whether the same
    request would meet it again, None that its status tells.
    """

    status: int = 400
    code: str = "invalid_request"
    type: str = "invalid_request_error"
    recurs: bool | None = None
    details: Mapping[str, Any] = {}  # what Anthropic's clients read beside the type, where an outcome has it
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
        """What it says to the clients of an API; the same to all but where they look for certain words."""
        return self.message

    def response_headers(self) -> dict[str, str]:
        """Its own headers, and what tells an SDK whether, and when, to try again."""
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
    """No key, a malformed one, or one nobody issued: deliberately the same answer."""

    status, code, type = 401, "invalid_api_key", "authentication_error"


class ExpiredApiKey(ClientError):
    """The right secret, but the key (or its grace after a rotation) is over."""

    status, code, type = 401, "expired_api_key", "authentication_error"


class RevokedApiKey(ClientError):
    """The right secret of a key an operator has revoked."""

    status, code, type = 401, "revoked_api_key", "authentication_error"


class TenantSuspended(ClientError):
    """The key is good, its tenant is not served at present."""

    status, code, type = 403, "tenant_suspended", "permission_error"


class IpNotAllowed(ClientError):
    """The key may only be used from other addresses."""

    status, code, type = 403, "ip_not_allowed", "permission_error"


class UserNotAllowed(ClientError):
    """The user is switched off, or nobody declared them and the tenant serves only those it knows."""

    status, code, type = 403, "user_not_allowed", "permission_error"


class QuotaExceeded(ClientError):
    """The tenant has as much of something as it may have."""

    status, code, type = 403, "quota_exceeded", "permission_error"


class ModelNotAllowed(ClientError):
    """The key's allow-list does not name the model."""

    status, code, type = 403, "model_not_allowed", "permission_error"


class RateLimitExceeded(ClientError):
    """A rate or concurrency limit of the tenant, key or user is used up for now."""

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"
