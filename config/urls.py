"""The site's routes: the admin, the portal, health, and the API's reference. The gateway's routes are in llm/urls.py."""

from django.contrib import admin
from django.shortcuts import redirect
from django.urls import include, path

from config.site import errors, reference
from tenants.signing_in.login import login

urlpatterns = [
    path("", lambda request: redirect("admin:index")),
    path("admin/login/", login),
    path("admin/", admin.site.urls),
    path("portal/", include("config.portal.urls")),
    path("", include("config.health")),
    path("openapi.json", reference.openapi),
    path("docs", reference.docs),
]


handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.failed
