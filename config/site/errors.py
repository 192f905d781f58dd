"""Pages for people whose request fails: what happened and the way back. Programs get JSON.

Invariant: none of them fails itself. The page of a 500 asks neither the database nor the session; the others show the admin
around them only to a person who may see it.
"""

from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.csrf import requires_csrf_token

from llm.errors import NotFound
from llm.views.base import error_response, new_request_id

TEXTS: Final = {
    403: (
        "This page is not yours to open",
        "You are logged in, but your roles do not include it. An owner of the tenant, or an operator, can give them to you.",
    ),
    404: (
        "There is nothing here",
        "The address may be mistyped, or what it led to is gone. Lists find rows by their id, name or user.",
    ),
    429: (
        "Too many attempts",
        "Somebody here, or at this account, tried too often. Wait a few minutes, then try again.",
    ),
    500: (
        "That was our fault",
        "Something went wrong on our side. It is in our logs with the time; what you entered was not saved.",
    ),
}


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return _page(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: an HTML page for people, JSON for programs with a wrong API path."""
    if request.path.startswith(("/admin/", "/portal/")) or "text/html" in request.headers.get("accept", ""):
        return _page(request, 404)
    error = NotFound(f"There is no {request.path} here: the API's addresses begin with /v1.")
    return error_response(error, request, request_id=new_request_id())


def too_many(request: HttpRequest) -> HttpResponse:
    """429."""
    return _page(request, 429)


def failed(request: HttpRequest) -> HttpResponse:
    """500. A plain text, if even the page cannot be made."""
    title, text = TEXTS[500]
    try:
        return HttpResponse(
            render_to_string("errors/alone.html", {"status": 500, "title": title, "text": text}), status=500
        )
    except Exception:
        return HttpResponse(f"{title}. {text}", status=500, content_type="text/plain")


@requires_csrf_token
def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 of a form that came from elsewhere, or from a page that was open for too long."""
    text = "The page was open for too long, or cookies are off. Go back, reload it, and send the form again."
    return render(
        request,
        "errors/alone.html",
        {"status": 403, "title": "This form is too old", "text": text},
        status=403,
    )


def _page(request: HttpRequest, status: int) -> HttpResponse:
    title, text = TEXTS[status]
    context: dict[str, Any] = {"status": status, "title": title, "text": text}
    if request.path.startswith("/portal/"):
        context["home"] = "/portal/"
    if _is_admin(request) and admin.site.has_permission(request):
        return render(
            request, "errors/admin.html", {**admin.site.each_context(request), **context}, status=status
        )
    return render(request, "errors/alone.html", context, status=status)


def _is_admin(request: HttpRequest) -> bool:
    return request.path.startswith("/admin/") and hasattr(request, "user")
