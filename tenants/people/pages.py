"""The page of an invitation's link.

Invariant: opening it changes nothing, because programs open links of mails too; a button accepts. The link stays out of
referrers and caches.
"""

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from tenants.people import inviting

LONGEST_TOKEN = 64


@never_cache
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show what somebody is invited to; a POST accepts."""
    try:
        if request.method == "GET":
            found = inviting.find(token[:LONGEST_TOKEN])
            return _private(render(request, "account/invitation.html", {"invitation": found}))
        arrival = inviting.accept(token[:LONGEST_TOKEN])
    except inviting.NoInvitation:
        return _private(render(request, "account/invitation.html", {"invitation": None}, status=410))
    if arrival.is_new and not request.user.is_authenticated:
        record_authentication(request, arrival.user, "invitation")
        answer: HttpResponse = perform_login(request, Login(user=arrival.user))
        return _private(answer)
    messages.info(request, f"You belong to {arrival.tenant.name} now.")
    return _private(redirect("account_login"))


def _private(response: HttpResponse) -> HttpResponse:
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
