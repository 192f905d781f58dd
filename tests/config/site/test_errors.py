"""Pages for people whose request fails: friendly inside the admin and outside, JSON for programs."""

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse

from config.site import errors
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
HTML = {"headers": {"accept": "text/html"}}


def logged_in(client: Client, name: str, *, is_superuser: bool) -> Client:
    client.force_login(User.objects.create(username=name, is_staff=True, is_superuser=is_superuser))
    return client


def test_it_works(client: Client) -> None:
    olga = logged_in(client, "errors-olga", is_superuser=True)
    inside, outside = olga.get("/admin/nothing/"), Client().get("/nothing", **HTML)
    for response in (inside, outside):
        assert response.status_code == 404
        assert "There is nothing here" in response.content.decode()
    assert "nav-sidebar" in inside.content.decode()
    assert "nav-sidebar" not in outside.content.decode()


def test_a_program_gets_json(client: Client) -> None:
    response = client.get("/nothing", headers={"accept": "application/json"})
    assert response.status_code == 404
    assert response.json()["error"]["message"].startswith("There is no /nothing here")


def test_who_may_not_open_a_page_is_told_who_can_help(client: Client) -> None:
    charlie = logged_in(client, "errors-charlie", is_superuser=False)
    response = charlie.get(reverse("admin:billing_pricerow_changelist"))
    assert response.status_code == 403
    page = response.content.decode()
    assert "not yours to open" in page
    assert reverse("admin:index") in page


def test_a_failure_is_told_without_the_database() -> None:
    response = errors.failed(RequestFactory().get("/admin/"))
    assert response.status_code == 500
    assert "our fault" in response.content.decode()


def test_a_form_that_is_too_old_says_so() -> None:
    strict = Client(enforce_csrf_checks=True)
    response = strict.post(reverse("admin:login"), {"username": "a", "password": "b"})
    assert response.status_code == 403
    assert "too old" in response.content.decode()


def test_who_is_in_no_tenant_is_told_so(client: Client) -> None:
    Tenant.objects.create(slug="not-hers", name="Not hers")
    page = logged_in(client, "errors-nobody", is_superuser=False).get(reverse("admin:index")).content.decode()
    assert "You are in no tenant yet" in page


def test_logging_in_at_the_plain_address_ends_on_the_home_page() -> None:
    User.objects.create_superuser("errors-login", password="a long enough password")
    response = Client().post(
        reverse("admin:login"), {"username": "errors-login", "password": "a long enough password"}
    )
    assert response.status_code == 302
    assert response["location"] == reverse("admin:index")
