"""Reads a provider's refusal: which outcome it is, and when to come back.

Invariant: pure. What the provider says to a client passes as it says it, because there are clients that look for its
words. Our own account's troubles (a bad key, no credit) never reach a client as its own.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

from config.database import storable
from llm.prompt_too_long import says_too_long
from llm.providers.errors import (
    ProviderError,
    ProviderFailure,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    without_secrets,
)
from llm.wire.error_bodies import error_in_any, status_of
from llm.wire.texts.json_texts import Unreadable, read_plain

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
    return _outcome(status, error_of(body), headers, provider=provider, api_key=api_key, now=now)


def failure_in_answer(
    error: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    provider: str,
    api_key: str,
    received: dict[str, Any] | None = None,
) -> ProviderFailure:
    """The outcome of an error that came with status 200: in place of an answer, or before a stream said anything.

    `received` is the body that reports its usage: it is billed, and the call is then not repeated.
    """
    failure = _outcome(status_of(dict(error)), error, headers, provider=provider, api_key=api_key)
    if received is not None:
        failure.received, failure.retryable = received, False
    return failure


def _outcome(
    status: int,
    error: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    provider: str,
    api_key: str,
    now: datetime | None = None,
) -> ProviderFailure:
    kind = str(error.get("code") or error.get("type") or "")
    message = without_secrets(
        str(error.get("message") or kind or f"The provider answered with status {status}."), api_key=api_key
    )
    facts: dict[str, Any] = {
        "upstream_status": status,
        "upstream_request_id": request_id_of(headers),
        "retry_after": retry_after(headers, now=now or datetime.now(UTC)),
    }
    if status in _OVERLOADED:
        exhausted = kind in _EXHAUSTED or error.get("type") in _EXHAUSTED
        text = _of_our_account(provider, message) if exhausted else message
        return ProviderUnavailable(text, retryable=_retryable(headers, default=not exhausted), **facts)
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


def error_of(body: bytes) -> dict[str, Any]:
    """The error object of either provider's envelope (`message`, `type`, `code`, `param`, as far as it has them); for any
    other body its text as the `message`."""
    try:
        decoded = read_plain(body)
    except Unreadable:
        text = body[:200].decode("utf-8", "replace").strip()
        return {"message": text} if text and not text.startswith("<") else {}
    if error := error_in_any(decoded):
        return error
    return decoded if isinstance(decoded, dict) else {}


def request_id_of(headers: Mapping[str, str]) -> str:
    """The provider's own id of the request, for its support and our receipt."""
    value = next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), "")
    return storable.text(value)[:LONGEST_REQUEST_ID]


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


class _ClientStatus(TypedDict):
    status: int
    code: str


def _client_status(status: int, kind: str, message: str) -> _ClientStatus:
    if kind == "context_length_exceeded" or says_too_long(message):
        return {"status": 400, "code": "context_length_exceeded"}
    if status == 413:
        return {"status": 413, "code": "request_too_large"}
    if status == 404:
        return {"status": 404, "code": "model_not_found" if "model" in message.lower() else "not_found"}
    return {"status": 400, "code": "invalid_request"}
