"""Middleware: a file that a person takes away has an entry in the audit log.

Invariant: the file is not kept back for it, and no program's answer is looked at.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from tenants.people import audit

GetResponse = Callable[[HttpRequest], HttpResponse]


def recorded(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        disposition = response.headers.get("Content-Disposition", "")
        if disposition.startswith("attachment") and request.user.is_authenticated:
            name = disposition.partition("filename=")[2].strip('"') or request.path
            audit.record("downloaded", request=request, object_name=name)
        return response

    return middleware
