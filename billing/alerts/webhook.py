"""Messages over HTTP: how they are signed (Standard Webhooks), and where we are willing to send them.

Invariant: a request leaves only for an address that is public or that the operator allowed (`config.egress`);
redirects are not followed, and of an answer nothing but its status is read.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

import aiohttp
from django.conf import settings

from config import egress

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
STANDARD_SIGNATURE_HEADER: Final = "webhook-signature"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 (the form of a secret, and none)
# of receivers that were written for earlier releases
SIGNATURE_HEADER: Final = "x-purser-signature"
EVENT_ID_HEADER: Final = "x-purser-event-id"
TIMEOUT_SECONDS = 10


class WebhookFailed(Exception):
    """The receiver did not take the event; the message is fit to be shown to an operator."""


class AddressNotAllowed(WebhookFailed):
    """The target is not http(s), or resolves to an address that the operator has not allowed."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One message on its way to one receiver. Without a secret it is not signed."""

    url: str
    secret: str
    event_id: str
    body: bytes


def make_secret() -> str:
    """A new secret in the form that receivers' libraries expect."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()


def check_secret(secret: str) -> None:
    """Raise ValueError for a secret that says it is `whsec_…` and is none, because no receiver could check it."""
    if secret.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not 16 <= len(key) <= 64:
            raise ValueError("after whsec_ there must be 16 to 64 bytes in base64")


def headers_of(webhook: Webhook, *, at: int) -> dict[str, str]:
    """The headers of a message: its id, the Unix seconds of this attempt, and its signatures."""
    headers = {
        "content-type": "application/json",
        "user-agent": "purser-webhooks/1",
        ID_HEADER: webhook.event_id,
        TIMESTAMP_HEADER: str(at),
        EVENT_ID_HEADER: webhook.event_id,
    }
    if webhook.secret:
        headers[STANDARD_SIGNATURE_HEADER] = sign_standard(webhook, at=at)
        headers[SIGNATURE_HEADER] = sign(webhook.body, secret=webhook.secret, at=at)
    return headers


def sign_standard(webhook: Webhook, *, at: int) -> str:
    """The signature of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`. The key of a `whsec_` secret is what
    its base64 says; any other secret is a key by its own bytes."""
    signed = f"{webhook.event_id}.{at}.".encode() + webhook.body
    digest = hmac.new(_key(webhook.secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def sign(body: bytes, *, secret: str, at: int) -> str:
    """The signature of earlier releases: HMAC-SHA256 over `timestamp.body`."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


async def post(session: aiohttp.ClientSession, webhook: Webhook, *, at: int) -> int:
    """Send one message and return the status, or raise WebhookFailed. Any answer but 2xx is a failure."""
    check_url(webhook.url)
    headers = headers_of(webhook, at=at)
    try:
        async with session.post(
            webhook.url, data=webhook.body, headers=headers, allow_redirects=False
        ) as response:
            if not 200 <= response.status < 300:
                raise WebhookFailed(f"the receiver answered {response.status}")
            return response.status
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


def _key(secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise WebhookFailed("the channel's secret is not base64 after whsec_") from None


def _innermost(error: BaseException) -> str:
    """What went wrong, in the words of the first error of a chain: aiohttp's own are of its insides."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
