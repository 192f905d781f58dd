"""Who must have a second factor, and until then opens nothing but the pages that add one.

Invariant: asked at every request, so that a policy that is switched on, or a factor that is removed, counts for sessions that are
open. For a superuser the platform's policy counts, not that of tenants they belong to.
"""

from collections.abc import Callable
from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from tenants.people.rights import rights_here

OPEN_PATHS: Final = ("/account/2fa/", "/account/reauthenticate/", "/account/logout/", "/static/")

GetResponse = Callable[[HttpRequest], HttpResponse]


def owes_one(request: HttpRequest) -> bool:
    """Whether the platform or one of their tenants asks for a second factor that the person does not have."""
    user = request.user
    if not user.is_authenticated:
        return False
    is_asked = (user.is_staff and settings.SECOND_FACTOR_REQUIRED) or rights_here(request).must_have_factor
    return is_asked and not has_one(user)


def has_one(user: Any) -> bool:
    """Recovery codes alone are no factor: they exist only beside one."""
    return bool(
        Authenticator.objects.filter(user=user.pk).exclude(type=Authenticator.Type.RECOVERY_CODES).exists()
    )


def required(get_response: GetResponse) -> GetResponse:
    """Middleware: leads a person who owes a factor to the page that adds one."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(OPEN_PATHS) and owes_one(request):
            messages.warning(
                request, "You need a second factor here. Add an authenticator app or a passkey to go on."
            )
            return redirect("mfa_index")
        return get_response(request)

    return middleware
