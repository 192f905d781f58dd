"""Who gets into the portal: members of the tenant in the address, and nobody else."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tenants.models import Membership
from tests.config.portal.conftest import House


def test_it_works(house: House) -> None:
    page = house.client(house.alice).get(house.at())
    assert page.status_code == 200
    assert house.acme.name in page.text


def test_somebody_who_is_not_signed_in_is_sent_to_the_login_and_back(house: House) -> None:
    answer = Client().get(house.at())
    assert answer.status_code == 302
    assert answer.headers["location"] == f"/portal/login/?next=%2Fportal%2Ft%2F{house.acme.slug}%2F"


def test_another_tenants_pages_do_not_exist(house: House) -> None:
    assert house.client(house.charlie).get(house.at()).status_code == 404
    assert house.client(house.alice).get("/portal/t/there-is-none/").status_code == 404


def test_an_operator_who_is_no_member_is_a_stranger_here(house: House) -> None:
    olga = User.objects.create_superuser("olga")
    assert house.client(olga).get(house.at()).status_code == 404


@pytest.mark.parametrize("name", ["alice", "bob", "fay"])
def test_every_role_has_a_first_page_and_nobody_keeps_it(house: House, name: str) -> None:
    page = house.client(getattr(house, name)).get(house.at())
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_entrance_leads_to_the_only_tenant_or_to_a_choice(house: House) -> None:
    alice = house.client(house.alice)
    assert alice.get("/portal/").headers["location"] == house.at()
    Membership.objects.create(user=house.alice, tenant=house.umbrella, role="member")
    choice = alice.get("/portal/")
    assert choice.status_code == 200
    assert house.at() in choice.text
    assert f"/portal/t/{house.umbrella.slug}/" in choice.text
    assert f"/portal/t/{house.umbrella.slug}/" in alice.get(house.at()).text


def test_somebody_in_no_tenant_is_told_so(house: House) -> None:
    page = house.client(User.objects.create(username="nobody")).get("/portal/")
    assert "You are in no tenant yet" in page.text


def test_signing_out_is_a_form_and_ends_the_session(house: House) -> None:
    alice = house.client(house.alice)
    assert alice.get("/portal/leave/").status_code == 405
    assert alice.post("/portal/leave/").status_code == 302
    assert alice.get(house.at()).status_code == 302
