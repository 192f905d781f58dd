"""The site's routes: the admin, health, and the API's reference. The gateway's routes are in llm/urls.py."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import include, path
from django.views.defaults import page_not_found

from config.site import reference
from llm.errors import NotFound
from llm.views.base import error_response, new_request_id
from tenants.signing_in.login import login

urlpatterns = [
    path("", lambda request: redirect("admin:index")),
    path("admin/login/", login),
    path("admin/", admin.site.urls),
    path("", include("config.health")),
    path("openapi.json", reference.openapi),
    path("docs", reference.docs),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """An HTML page for people, JSON for programs with a wrong API path."""
    if request.path.startswith("/admin/") or "text/html" in request.headers.get("accept", ""):
        return page_not_found(request, exception)
    error = NotFound(f"There is no {request.path} here: the API's addresses begin with /v1.")
    return error_response(error, request, request_id=new_request_id())


def handler500(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        "Something went wrong on our side; our logs know more.", status=500, content_type="text/plain"
    )
