"""Alerts over HTTP: what is signed, and where we are willing to send it.

Invariant: a request leaves only for an address that is public or that the operator allowed, checked on the
address actually connected to, so a name that resolves differently the second time gains nothing; redirects
are not followed.
"""

import hashlib
import hmac
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from django.conf import settings

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
    """Return the signature header: HMAC-SHA256 over `timestamp.body`, the timestamp in Unix seconds."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def verify(header: str, body: bytes, *, secret: str, now: int, tolerance_seconds: int = 300) -> bool:
    """Say whether a received signature header is ours and recent; what a receiver does, in constant time."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    if not parts.get("t", "").isdigit() or abs(now - int(parts["t"])) > tolerance_seconds:
        return False
    return hmac.compare_digest(sign(body, secret=secret, at=int(parts["t"])), header)


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
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=GuardedResolver(), limit=50),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
    )


def check_url(url: str) -> None:
    """Raise AddressNotAllowed for a URL that is not http(s) or that names a forbidden address outright."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressNotAllowed("a webhook needs an http:// or https:// address")
    try:
        address = ip_address(parts.hostname)
    except ValueError:
        return  # a name: GuardedResolver checks what it resolves to
    check_address(address)


def check_address(address: IPv4Address | IPv6Address) -> None:
    """Raise AddressNotAllowed unless the address is public, or private and the operator allows private ones.

    Link-local addresses are never allowed: cloud machines hand out their credentials there.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    is_special = address.is_multicast or address.is_link_local or address.is_unspecified
    is_ours = settings.WEBHOOKS_MAY_BE_PRIVATE and (address.is_private or address.is_loopback)
    if is_special or not (address.is_global or is_ours):
        raise AddressNotAllowed(f"{address} is not a public address (see WEBHOOKS_MAY_BE_PRIVATE)")


def _innermost(error: BaseException) -> str:
    """What went wrong, in the words of the first error of a chain: aiohttp's own are of its insides."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


class GuardedResolver(AbstractResolver):
    """Resolves a name to its allowed addresses only."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            try:
                check_address(ip_address(result["host"].split("%")[0]))
            except AddressNotAllowed as refusal:
                raise OSError(str(refusal)) from refusal
        return results

    async def close(self) -> None:
        await self._resolver.close()
