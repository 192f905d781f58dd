"""Who must have a second factor, and until then opens nothing but the pages that add one.

Invariant: whoever signs in under the policy without a factor gets no further in that session before there is one. Asked at
sign-in; a policy that is switched on later counts from the next sign-in.
"""

from collections.abc import Callable
from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from tenants.models import Membership

OWES: Final = "owes_a_factor"
OPEN_PATHS: Final = ("/account/2fa/", "/account/reauthenticate/", "/account/logout/", "/static/")

GetResponse = Callable[[HttpRequest], HttpResponse]


def owes_one(user: Any) -> bool:
    """Whether the platform or one of their tenants asks for a second factor that the person does not have."""
    is_asked = (
        bool(user.is_staff and settings.SECOND_FACTOR_REQUIRED)
        or Membership.objects.filter(user=user.pk, tenant__requires_second_factor=True).exists()
    )
    return is_asked and not has_one(user)


def has_one(user: Any) -> bool:
    """Recovery codes alone are no factor: they exist only beside one."""
    return bool(
        Authenticator.objects.filter(user=user.pk).exclude(type=Authenticator.Type.RECOVERY_CODES).exists()
    )


def required(get_response: GetResponse) -> GetResponse:
    """Middleware: leads a person who owes a factor to the page that adds one."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.session.get(OWES) and not request.path.startswith(OPEN_PATHS):
            if not has_one(request.user):
                messages.warning(
                    request, "You need a second factor here. Add an authenticator app or a passkey to go on."
                )
                return redirect("mfa_index")
            del request.session[OWES]
        return get_response(request)

    return middleware
