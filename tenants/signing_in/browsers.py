"""The browser of a request: its address, and the accounts that have signed in with it.

Invariant: the cookie is signed, names one account, and is worth nothing but a counter of its own for wrong passwords.
"""

from typing import Any, Final
from uuid import uuid4

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

from config.door.peers import client_address

DEVICE_COOKIE: Final = "purser_device"
DEVICE_DAYS: Final = 180


def address_of(request: HttpRequest) -> str:
    """The client's address of a request to the site."""
    return client_address(
        str(request.META.get("REMOTE_ADDR", "")),
        forwarded_for=request.headers.get("x-forwarded-for", ""),
        trusted=settings.TRUSTED_PROXIES,
    )


def device_of(request: HttpRequest, *names: str) -> str:
    """The name of the browser if one of these account names has signed in with it before, else ''."""
    try:
        owners, device = _signer().unsign_object(
            request.COOKIES.get(DEVICE_COOKIE, ""), max_age=DEVICE_DAYS * 86_400
        )
        return str(device) if any(name and name in owners for name in names) else ""
    except (BadSignature, ValueError, TypeError):
        return ""


def remember(response: HttpResponse, user: Any) -> None:
    """Let the browser know that this account has signed in with it."""
    names = [user.get_username(), *([user.email] if user.email else [])]
    response.set_cookie(
        DEVICE_COOKIE,
        _signer().sign_object([names, uuid4().hex]),
        max_age=DEVICE_DAYS * 86_400,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="tenants.login.device")
