"""Reads a provider's refusal: which outcome it is, and when to come back.

Invariant: pure. What the provider says to a client passes as it says it, because there are clients that look for its
words. Our own account's troubles (a bad key, no credit) are never told to a client as theirs.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from config import storable
from llm.providers.lengths import says_too_long
from llm.providers.outcomes import (
    ProviderError,
    ProviderFailure,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    without_secrets,
)

REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "cf-ray")
LONGEST_REQUEST_ID = 200

_OVERLOADED = frozenset({429, 503, 529})
_OUR_ACCOUNT = frozenset({401, 402, 403})
_EXHAUSTED = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})


def failure_of(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    provider: str,
    api_key: str,
    now: datetime | None = None,
) -> ProviderFailure:
    """The outcome of an HTTP answer that is not a 200."""
    error = error_of(body)
    kind = str(error.get("code") or error.get("type") or "")
    message = without_secrets(
        str(error.get("message") or f"The provider answered with status {status}."), api_key=api_key
    )
    facts: dict[str, Any] = {
        "upstream_status": status,
        "upstream_request_id": request_id_of(headers),
        "retry_after": retry_after(headers, now=now or datetime.now(UTC)),
    }
    if status in _OVERLOADED:
        exhausted = kind in _EXHAUSTED or error.get("type") in _EXHAUSTED
        told = _of_our_account(provider, message) if exhausted else message
        return ProviderUnavailable(told, retryable=_retryable(headers, default=not exhausted), **facts)
    if status == 408 or status == 504:
        return ProviderTimeout(
            message, retryable=_retryable(headers, default=True), may_be_billed=status == 504, **facts
        )
    if status == 409 or status >= 500:
        return ProviderError(message, retryable=_retryable(headers, default=True), **facts)
    if status in _OUR_ACCOUNT:
        return ProviderError(_of_our_account(provider, message), **facts)
    if status < 400:
        return ProviderError(f"{provider} answered with status {status}, which is no answer.", **facts)
    facts["retry_after"] = None
    param = error.get("param") if isinstance(error.get("param"), str) else None
    return ProviderRejected(message, **_client_status(status, kind, message), param=param, **facts)


def failure_in_stream(
    error: Mapping[str, Any], *, provider: str, api_key: str, upstream_request_id: str = ""
) -> ProviderFailure:
    """The outcome of an error that a stream began with, in place of an answer."""
    kind = str(error.get("code") or error.get("type") or "")
    told = without_secrets(
        str(error.get("message") or kind or f"{provider} failed without a word."), api_key=api_key
    )
    if "overloaded" in kind or "rate_limit" in kind:
        return ProviderUnavailable(told, retryable=True, upstream_request_id=upstream_request_id)
    if "invalid_request" in kind:
        return ProviderRejected(
            told, **_client_status(400, kind, told), upstream_request_id=upstream_request_id
        )
    return ProviderError(told, retryable=True, upstream_request_id=upstream_request_id)


def error_of(body: bytes) -> dict[str, Any]:
    """The error object of either provider's envelope; for any other body its text as the message."""
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[:200].decode("utf-8", "replace").strip()
        return {"message": text} if text and not text.startswith("<") else {}
    if not isinstance(decoded, dict):
        return {}
    error = decoded.get("error", decoded)
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


def request_id_of(headers: Mapping[str, str]) -> str:
    """The provider's own id of the request, for its support and our receipt."""
    told = next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), "")
    return storable.text(told)[:LONGEST_REQUEST_ID]


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds until the provider wants us back, from any form it says so in; None when it does not."""
    milliseconds = headers.get("retry-after-ms", "")
    value = headers.get("retry-after", "").strip()
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(value)) if value else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _retryable(headers: Mapping[str, str], *, default: bool) -> bool:
    """Both providers may overrule the status with `x-should-retry`."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", ""), default)


def _of_our_account(provider: str, message: str) -> str:
    return f"{provider} refused the gateway's account: {message}"


def _client_status(status: int, kind: str, message: str) -> dict[str, Any]:
    if kind == "context_length_exceeded" or says_too_long(message):
        return {"status": 400, "code": "context_length_exceeded"}
    if status == 413:
        return {"status": 413, "code": "request_too_large"}
    if status == 404:
        return {"status": 404, "code": "model_not_found" if "model" in message.lower() else "not_found"}
    return {"status": 400, "code": "invalid_request"}
