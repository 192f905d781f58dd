"""API keys in the portal: made, rotated and revoked by their people, and nobody else's business."""

import re
from datetime import timedelta

import pytest
from django.utils.timezone import now

from tenants.keys import strings
from tenants.keys.editing import MOST_ROTATIONS, issue_key
from tenants.models import ApiKey
from tests.config.portal.conftest import House

SECRET = re.compile(r"psr_[0-9a-f]{16}_[\w-]{43}")


def test_it_works(house: House) -> None:
    page = house.client(house.bob).post(house.at("keys/new/"), {"label": "laptop", "days": 30})
    key = ApiKey.objects.get(tenant=house.acme, name="bob/laptop")
    secrets = set(SECRET.findall(page.text))
    assert len(secrets) == 1
    assert strings.matches(secrets.pop(), bytes(key.secret_hash))
    assert key.user == "bob"
    assert key.history.get().history_user == house.bob


def test_the_lines_to_copy_have_the_secret_only_right_after_it_was_made(house: House) -> None:
    bob = house.client(house.bob)
    made = bob.post(house.at("keys/new/"), {"label": "laptop", "days": 30}).text
    secret = SECRET.findall(made)[0]
    assert made.count(secret) > 6
    assert "ANTHROPIC_BASE_URL=http://testserver" in made
    key = ApiKey.objects.get(name="bob/laptop")
    for page in ("keys/", f"keys/{key.pk}/", "connect/", ""):
        assert secret not in bob.get(house.at(page)).text
    assert "YOUR-KEY" in bob.get(house.at("connect/")).text


def test_a_wrong_form_says_what_is_wrong_and_makes_nothing(house: House) -> None:
    bob = house.client(house.bob)
    for wrong, said in (
        ({"label": "laptop", "days": 400}, "from 1 to 365 days"),
        ({"label": "a/b", "days": 3}, "Letters, digits"),
        ({"label": "x" * 41, "days": 3}, "at most 40 characters"),
        ({"label": "laptop", "days": 3, "models": ["no-such-model"]}, "not one of the available choices"),
    ):
        page = bob.post(house.at("keys/new/"), wrong)
        assert page.status_code == 200
        assert said in page.text
    assert not ApiKey.objects.filter(tenant=house.acme).exists()


def test_a_key_is_rotated_and_revoked(house: House) -> None:
    bob = house.client(house.bob)
    key, first = issue_key(house.acme, name="mine", user="bob")
    page = bob.post(house.at(f"keys/{key.pk}/rotate/"), {"grace": "3600"})
    key.refresh_from_db()
    assert strings.matches(SECRET.findall(page.text)[0], bytes(key.secret_hash))
    assert strings.matches(first, bytes(key.previous_secret_hash or b""))
    bob.post(house.at(f"keys/{key.pk}/revoke/"))
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert bob.post(house.at(f"keys/{key.pk}/rotate/"), {"grace": "0"}).status_code == 302


@pytest.mark.parametrize("verb", ["", "rotate/", "revoke/"])
def test_another_persons_key_does_not_exist(house: House, verb: str) -> None:
    key, _ = issue_key(house.acme, name="alices", user="alice")
    service, _ = issue_key(house.acme, name="a-service")
    foreign, _ = issue_key(house.umbrella, name="theirs", user="bob")
    bob = house.client(house.bob)
    for other in (key, service, foreign):
        assert bob.post(house.at(f"keys/{other.pk}/{verb}"), {"grace": "0"}).status_code == 404
        other.refresh_from_db()
        assert other.revoked_at is None
        assert other.previous_secret_hash is None
    assert bob.get(house.at(f"keys/{10**30}/")).status_code == 404


def test_an_owner_sees_all_keys_of_the_tenant_and_makes_those_of_services(house: House) -> None:
    issue_key(house.acme, name="bobs", user="bob")
    foreign, _ = issue_key(house.umbrella, name="umbrellas")
    alice = house.client(house.alice)
    listed = alice.get(house.at("keys/")).text
    assert "bobs" in listed
    assert "umbrellas" not in listed
    assert alice.get(house.at(f"keys/{foreign.pk}/")).status_code == 404
    made = alice.post(house.at("keys/service/"), {"name": "ci", "models": "gpt-*, claude-*", "days": ""})
    assert SECRET.search(made.text)
    assert ApiKey.objects.get(tenant=house.acme, name="ci").models == ["gpt-*", "claude-*"]
    found = alice.get(house.at("keys/?q=bobs")).text
    assert "ci</a>" not in found


def test_members_make_no_keys_of_services_and_finance_none_at_all(house: House) -> None:
    assert house.client(house.bob).get(house.at("keys/service/")).status_code == 403
    fay = house.client(house.fay)
    for page in ("keys/", "keys/new/", "keys/service/", "connect/"):
        assert fay.get(house.at(page)).status_code == 403


def test_a_form_from_elsewhere_is_refused(house: House) -> None:
    bob = house.client(house.bob)
    bob.handler.enforce_csrf_checks = True
    assert bob.post(house.at("keys/new/"), {"label": "laptop", "days": 3}).status_code == 403
    assert not ApiKey.objects.filter(tenant=house.acme).exists()


def test_a_key_gets_only_so_many_new_secrets_a_day(house: House) -> None:
    bob = house.client(house.bob)
    key, _ = issue_key(house.acme, name="mine", user="bob")
    for _ in range(MOST_ROTATIONS):
        assert SECRET.search(bob.post(house.at(f"keys/{key.pk}/rotate/"), {"grace": "0"}).text)
    key.refresh_from_db()
    last = bytes(key.secret_hash)
    refused = bob.post(house.at(f"keys/{key.pk}/rotate/"), {"grace": "0"}, follow=True)
    assert f"mine got {MOST_ROTATIONS} new secrets today" in refused.text
    key.refresh_from_db()
    assert bytes(key.secret_hash) == last
    assert key.history.count() == MOST_ROTATIONS + 1
    ApiKey.objects.filter(pk=key.pk).update(rotated_at=now() - timedelta(days=1))
    assert SECRET.search(bob.post(house.at(f"keys/{key.pk}/rotate/"), {"grace": "0"}).text)
