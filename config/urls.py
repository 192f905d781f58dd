"""The site's routes: the admin, the portal, signing in, health, and the API's reference. The gateway's are in llm/urls.py."""

from django.contrib import admin
from django.shortcuts import redirect
from django.urls import include, path

from config.planning.page import planning_page
from config.portal.books.deliveries import delivered_file
from config.site import errors, reference
from tenants.people import arriving
from tenants.people.pages import invitation
from tenants.signing_in.login import sign_in

urlpatterns = [
    path("", lambda request: redirect("admin:index")),
    # the admin's, the portal's and allauth's addresses of the one page
    path("admin/login/", sign_in),
    path("portal/login/", sign_in, name="portal_login"),
    path("account/login/", sign_in),
    path("admin/password_change/", lambda request: redirect("account_change_password")),
    path("account/invitation/<str:token>/", invitation, name="invitation"),
    path("account/oidc/<slug:provider_id>/login/", arriving.begin),
    path("account/oidc/<slug:provider_id>/login/callback/", arriving.finish),
    path("account/", include("allauth.urls")),
    path("admin/planning/", admin.site.admin_view(planning_page), name="planning"),
    path("admin/", admin.site.urls),
    path("portal/files/<str:token>/", delivered_file, name="delivered_file"),
    path("portal/", include("config.portal.urls")),
    path("", include("config.health")),
    path("openapi.json", reference.openapi),
    path("docs", reference.docs),
]


handler403 = errors.forbidden
handler404 = errors.not_found
handler429 = errors.too_many
handler500 = errors.failed
