"""Login to the admin.

Invariant: every password from the network goes through `GuardedBackend`: an attempt that must wait is not checked. A
session begins here and records its start, from which its length is counted.
"""

from typing import Any, Final
from uuid import uuid4

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.views.decorators.cache import never_cache
from unfold.forms import AuthenticationForm

from config.door.peers import client_address
from config.site.pages import SESSION_BEGAN
from tenants.signing_in.guesses import (
    LONGEST_QUEUE_SECONDS,
    STRANGERS_AT_ONCE,
    counters_of,
    give_back,
    take_turn,
)

DEVICE_COOKIE: Final = "purser_device"
DEVICE_DAYS: Final = 180


class GuardedBackend(ModelBackend):
    """Django's password backend with limits on guessing. Without a request (a command) nothing is counted."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **more: Any,
    ) -> Any:
        if request is None or username is None or password is None:
            return super().authenticate(request, username=username, password=password, **more)
        device = device_of(request, username)
        counters = counters_of(username, address=address_of(request), device=device)
        if pause := take_turn(counters):
            raise _must_wait(request, pause)
        if device:
            user = super().authenticate(request, username=username, password=password, **more)
        elif STRANGERS_AT_ONCE.acquire(timeout=LONGEST_QUEUE_SECONDS):
            try:
                user = super().authenticate(request, username=username, password=password, **more)
            finally:
                STRANGERS_AT_ONCE.release()
        else:
            raise _must_wait(request, LONGEST_QUEUE_SECONDS)
        if user is not None:
            give_back(counters)
        return user


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    """The login form, with a message for an attempt that must wait."""

    def get_invalid_login_error(self) -> ValidationError:
        error: ValidationError = super().get_invalid_login_error()
        if pause := seconds_to_wait(self.request):
            error = ValidationError(
                f"Too many attempts. Try again in {pause} seconds.", code="too_many_attempts"
            )
        return error


@never_cache
def login(request: HttpRequest) -> HttpResponse:
    """The admin's login page."""
    response: HttpResponse = admin.site.login(request)
    if pause := seconds_to_wait(request):
        response.status_code = 429
        response["Retry-After"] = str(pause)
    elif request.method == "POST" and request.user.is_authenticated:
        request.session[SESSION_BEGAN] = int(now().timestamp())
        response.set_cookie(
            DEVICE_COOKIE,
            _signer().sign_object([request.user.get_username(), uuid4().hex]),
            max_age=DEVICE_DAYS * 86_400,
            path=request.path,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return response


def device_of(request: HttpRequest, username: str) -> str:
    """The name of the browser if this account has logged in with it before, else ''."""
    try:
        owner, device = _signer().unsign_object(
            request.COOKIES.get(DEVICE_COOKIE, ""), max_age=DEVICE_DAYS * 86_400
        )
    except (BadSignature, ValueError, TypeError):
        return ""
    return str(device) if owner == username else ""


def address_of(request: HttpRequest) -> str:
    """The client's address of a request to the site."""
    return client_address(
        str(request.META.get("REMOTE_ADDR", "")),
        forwarded_for=request.headers.get("x-forwarded-for", ""),
        trusted=settings.TRUSTED_PROXIES,
    )


def seconds_to_wait(request: HttpRequest | None) -> int:
    """The seconds until the next attempt, if this one was refused because it must wait; else 0."""
    return int(getattr(request, "_seconds_to_wait", 0))


def _must_wait(request: HttpRequest, pause: int) -> PermissionDenied:
    request._seconds_to_wait = pause  # type: ignore[attr-defined]
    return PermissionDenied("too many attempts")


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="tenants.login.device")
