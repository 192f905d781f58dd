"""Middleware for every page of the site: its content security policy, and the length of sessions.

Invariant: a page runs only scripts from our own files, and cannot be framed. A session ends after a time without a
request, and at the latest after SESSION_LONGEST_SECONDS.
"""

from collections.abc import Callable
from typing import Final

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now

SESSION_BEGAN: Final = "began_at"
SESSION_SEEN: Final = "seen_at"
# The admin's components use Alpine, which evaluates attributes with eval, and style attributes.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

GetResponse = Callable[[HttpRequest], HttpResponse]


def content_security(get_response: GetResponse) -> GetResponse:
    """Middleware: sets the Content-Security-Policy."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return middleware


def session_length(get_response: GetResponse) -> GetResponse:
    """Middleware: logs out a person who was inactive, or logged in, for too long."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if SESSION_BEGAN in request.session or request.user.is_authenticated:
            at = int(now().timestamp())
            began = request.session.setdefault(SESSION_BEGAN, at)
            if at - began >= settings.SESSION_LONGEST_SECONDS:
                logout(request)
            elif at - request.session.get(SESSION_SEEN, began) >= settings.SESSION_COOKIE_AGE // 10:
                request.session[SESSION_SEEN] = at  # saved, so its cookie and row last longer again
                own = UserSession.objects.filter(session_key=request.session.session_key)
                own.update(last_seen_at=now())
        return get_response(request)

    return middleware
