"""The site's routes: the admin, health, and the API's reference. The gateway's own stand in llm/urls.py."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import include, path

from config import reference

urlpatterns = [
    path("", lambda request: redirect("admin:index")),
    path("admin/", admin.site.urls),
    path("", include("config.health")),
    path("openapi.json", reference.openapi),
    path("docs", reference.docs),
]


def handler500(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        "Something went wrong on our side; our logs know more.", status=500, content_type="text/plain"
    )
