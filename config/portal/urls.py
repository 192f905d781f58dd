"""The portal's addresses: `/portal/` leads to a tenant's pages at `/portal/t/<slug>/`."""

from django.urls import path

from config.portal import entrance, home

app_name = "portal"
AT = "t/<slug:tenant>/"

urlpatterns = [
    path("", entrance.enter, name="entrance"),
    path("leave/", entrance.leave, name="leave"),
    path(AT, home.show_home, name="home"),
]
