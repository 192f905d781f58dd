"""The way in: from `/portal/` to the pages of a person's tenant, or to the choice of one of several.

Invariant: nobody is sent to a tenant that she is no member of.
"""

from django.contrib.auth import logout
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from config.portal.access import LOGIN, private, tenants_of
from config.site.look import FAVICON, UNFOLD


def enter(request: HttpRequest) -> HttpResponseBase:
    """`/portal/`: on to the only tenant, or a page to choose one."""
    if not request.user.is_authenticated:
        return private(redirect(f"{LOGIN}?next=/portal/"))
    tenants = tenants_of(request.user)
    if len(tenants) == 1:
        return private(redirect("portal:home", tenant=tenants[0].slug))
    context = {"tenants": tenants, "favicon": FAVICON, "shades": UNFOLD["COLORS"]["primary"]}
    return private(render(request, "portal/entrance.html", context))


@require_POST
def leave(request: HttpRequest) -> HttpResponseBase:
    """End the session."""
    logout(request)
    return private(redirect(LOGIN))
