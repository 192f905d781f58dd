"""The page that signs people in, with name or e-mail and password, and the check of a password.

Invariant: every password from the network goes through `GuardedBackend`: an attempt that must wait is not checked.
"""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.forms import LoginForm
from allauth.account.views import LoginView
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse

from tenants.signing_in.browsers import address_of, device_of
from tenants.signing_in.guesses import (
    LONGEST_QUEUE_SECONDS,
    STRANGERS_AT_ONCE,
    counters_of,
    give_back,
    take_turn,
)
from tenants.signing_in.places import place_of

LONGEST_NAME = 254


class GuardedBackend(AuthenticationBackend):  # type: ignore[misc]
    """Passwords, with limits on guessing. Without a request (a command) nothing is counted."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> Any:
        name = credentials.get("username") or credentials.get("email")
        if request is None or not name or not credentials.get("password"):
            return super().authenticate(request, **credentials)
        device = device_of(request, name)
        counters = counters_of(name, address=address_of(request), device=device)
        if pause := take_turn(counters):
            raise _must_wait(request, pause)
        if device:
            user = super().authenticate(request, **credentials)
        elif STRANGERS_AT_ONCE.acquire(timeout=LONGEST_QUEUE_SECONDS):
            try:
                user = super().authenticate(request, **credentials)
            finally:
                STRANGERS_AT_ONCE.release()
        else:
            raise _must_wait(request, LONGEST_QUEUE_SECONDS)
        if user is not None:
            give_back(counters)
        return user


class SignInForm(LoginForm):  # type: ignore[misc]
    """Name or e-mail, and password; and a message for an attempt that must wait."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name = self.fields["login"]
        name.label, name.max_length = "Name or e-mail", LONGEST_NAME
        name.widget.attrs |= {
            "autocomplete": "username webauthn",
            "autofocus": True,
            "maxlength": LONGEST_NAME,
        }
        name.widget.attrs.pop("placeholder", None)
        self.fields["password"].widget.attrs.pop("placeholder", None)

    def add_prefix(self, field_name: str) -> str:
        # what browsers, password managers and scripts know from Django
        return "username" if field_name == "login" else field_name

    def clean(self) -> Any:
        try:
            return super().clean()
        except ValidationError:
            if pause := seconds_to_wait(self.request):
                raise ValidationError(
                    f"Too many attempts. Try again in {pause} seconds.", code="too_many_attempts"
                ) from None
            raise


class SignInView(LoginView):  # type: ignore[misc]
    """The page; an attempt that must wait is answered with 429."""

    def get_authenticated_redirect_url(self) -> str:
        return place_of(self.request.user, super().get_authenticated_redirect_url())

    def form_invalid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)
        if pause := seconds_to_wait(self.request):
            response.status_code = 429
            response["Retry-After"] = str(pause)
        return response


sign_in = SignInView.as_view()


def seconds_to_wait(request: HttpRequest | None) -> int:
    """The seconds until the next attempt, if this one was refused because it must wait; else 0."""
    return int(getattr(request, "_seconds_to_wait", 0))


def _must_wait(request: HttpRequest, pause: int) -> PermissionDenied:
    request._seconds_to_wait = pause  # type: ignore[attr-defined]
    return PermissionDenied("too many attempts")
