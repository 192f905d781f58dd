"""Alerts over HTTP: what is signed, and where we are willing to send it.

Invariant: a request leaves only for an address that is public or that the operator allowed (`config.egress`);
redirects are not followed.
"""

import hashlib
import hmac
from dataclasses import dataclass

import aiohttp
from django.conf import settings

from config import egress

SIGNATURE_HEADER = "x-purser-signature"
EVENT_ID_HEADER = "x-purser-event-id"
TIMEOUT_SECONDS = 10


class WebhookFailed(Exception):
    """The receiver did not take the event; the message is fit to be shown to an operator."""


class AddressNotAllowed(WebhookFailed):
    """The target is not http(s), or resolves to an address that the operator has not allowed."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event on its way to one receiver."""

    url: str
    secret: str
    event_id: str
    body: bytes


def sign(body: bytes, *, secret: str, at: int) -> str:
    """The signature header: HMAC-SHA256 over `timestamp.body`, the timestamp in Unix seconds (docs/money.md has a
    receiver's side of it)."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


async def post(session: aiohttp.ClientSession, webhook: Webhook, *, at: int) -> None:
    """Send one event, or raise WebhookFailed. Any answer but 2xx is a failure."""
    check_url(webhook.url)
    headers = {
        "content-type": "application/json",
        "user-agent": "purser-webhooks/1",
        EVENT_ID_HEADER: webhook.event_id,
        SIGNATURE_HEADER: sign(webhook.body, secret=webhook.secret, at=at),
    }
    try:
        async with session.post(
            webhook.url, data=webhook.body, headers=headers, allow_redirects=False
        ) as response:
            if not 200 <= response.status < 300:
                raise WebhookFailed(f"the receiver answered {response.status}")
    except TimeoutError:
        raise WebhookFailed(f"no answer within {TIMEOUT_SECONDS} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise WebhookFailed(_innermost(error)) from error


def open_session() -> aiohttp.ClientSession:
    """A session whose connections can only reach allowed addresses."""
    connector = egress.guarded_connector(may_be_private=settings.WEBHOOKS_MAY_BE_PRIVATE, limit=50)
    return aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS), trust_env=False
    )


def check_url(url: str) -> None:
    """Raise AddressNotAllowed for a URL that is not http(s) or that names a forbidden address outright."""
    try:
        egress.check_url(url, may_be_private=settings.WEBHOOKS_MAY_BE_PRIVATE)
    except egress.AddressRefused as refusal:
        raise AddressNotAllowed(f"{refusal} (see WEBHOOKS_MAY_BE_PRIVATE)") from None


def _innermost(error: BaseException) -> str:
    """What went wrong, in the words of the first error of a chain: aiohttp's own are of its insides."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
