"""Second factors: asked for where the policy says so, and reset by a command that the audit log keeps."""

import secrets
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from tenants.models import AuditEntry, Membership, Tenant

PASSWORD = "correct horse battery"


@pytest.fixture
def olga(db: None) -> User:
    return User.objects.create_superuser(f"olga-{secrets.token_hex(4)}", password=PASSWORD)


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))


def signed_in(user: User) -> Client:
    client = Client()
    answer = client.post("/admin/login/", {"username": user.username, "password": PASSWORD})
    assert answer.status_code == 302
    return client


def test_it_works(olga: User) -> None:
    """An authenticator app is asked for its code after the password."""
    secret = generate_totp_secret()
    TOTP.activate(olga, secret)
    client = signed_in(olga)
    assert client.get("/admin/").status_code == 302, "a password alone is not enough"
    assert client.post("/account/2fa/authenticate/", {"code": "000000"}).status_code == 200
    answer = client.post("/account/2fa/authenticate/", {"code": code_of(secret)})
    assert (answer.status_code, answer["location"]) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200


def test_the_seed_is_encrypted_at_rest(olga: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(olga, secret)
    with connection.cursor() as cursor:
        cursor.execute("SELECT data::text FROM mfa_authenticator WHERE user_id = %s", [olga.pk])
        assert secret not in cursor.fetchone()[0]


def test_codes_are_not_guessed(olga: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(olga, secret)
    client = signed_in(olga)
    for _ in range(10):
        client.post("/account/2fa/authenticate/", {"code": "000000"})
    client.post("/account/2fa/authenticate/", {"code": code_of(secret)})
    assert client.get("/admin/").status_code == 302, "even the right one has to wait"


def test_staff_without_one_opens_nothing_where_it_is_required(olga: User, settings: Any) -> None:
    settings.SECOND_FACTOR_REQUIRED = True
    client = signed_in(olga)
    for page in ("/admin/", "/portal/", "/docs", "/account/password/change/"):
        assert client.get(page)["location"] == "/account/2fa/", page
    assert client.get("/account/2fa/").status_code == 200
    TOTP.activate(olga, generate_totp_secret())
    assert client.get("/admin/").status_code == 200


def test_recovery_codes_alone_are_no_second_factor(olga: User, settings: Any) -> None:
    settings.SECOND_FACTOR_REQUIRED = True
    Authenticator.objects.create(user=olga, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert Client().get("/account/2fa/").status_code == 302
    user = User.objects.create_superuser(f"o-{secrets.token_hex(4)}", password=PASSWORD)
    assert signed_in(user).get("/admin/")["location"] == "/account/2fa/"


def test_a_tenant_asks_its_own_people(tenant: Tenant) -> None:
    tenant.requires_second_factor = True
    tenant.save()
    inside, outside = (
        User.objects.create_user(f"p-{secrets.token_hex(4)}", password=PASSWORD) for _ in range(2)
    )
    Membership.objects.create(tenant=tenant, user=inside, role="member")
    assert signed_in(inside).get("/portal/")["location"] == "/account/2fa/"
    assert signed_in(outside).get("/portal/").status_code == 200


def test_a_policy_counts_for_sessions_that_are_open(tenant: Tenant, olga: User, settings: Any) -> None:
    inside = User.objects.create_user(f"p-{secrets.token_hex(4)}", password=PASSWORD)
    Membership.objects.create(tenant=tenant, user=inside, role="member")
    client, staff = signed_in(inside), signed_in(olga)
    home = f"/portal/t/{tenant.slug}/"
    assert (client.get(home).status_code, staff.get("/admin/").status_code) == (200, 200)
    tenant.requires_second_factor = True
    tenant.save()
    settings.SECOND_FACTOR_REQUIRED = True
    assert client.get(home)["location"] == "/account/2fa/"
    assert client.post(f"{home}keys/new/", {"name": "x"})["location"] == "/account/2fa/"
    assert staff.get("/admin/")["location"] == "/account/2fa/"
    for user in (inside, olga):
        TOTP.activate(user, generate_totp_secret())
    assert (client.get(home).status_code, staff.get("/admin/").status_code) == (200, 200)
    Authenticator.objects.filter(user=inside).delete()
    assert client.get(home)["location"] == "/account/2fa/", "also when the factor is removed"


def test_an_account_that_is_switched_off_is_out_at_once(olga: User) -> None:
    client = signed_in(olga)
    assert client.get("/admin/").status_code == 200
    User.objects.filter(pk=olga.pk).update(is_active=False)
    for page in ("/admin/", "/portal/", "/account/2fa/"):
        assert client.get(page).status_code == 302, page
    assert "/login/" in client.get("/admin/")["location"]


def test_a_command_resets_them_and_says_so(olga: User) -> None:
    TOTP.activate(olga, generate_totp_secret())
    other = User.objects.create_superuser(f"o-{secrets.token_hex(4)}", password=PASSWORD)
    client = signed_in(other)
    with pytest.raises(CommandError):
        call_command("reset_factors", olga.username)
    call_command("reset_factors", olga.username, reason="called, and named her last invoice")
    assert not Authenticator.objects.filter(user=olga).exists()
    entry = AuditEntry.objects.filter(verb="reset second factors").latest("pk")
    assert (entry.object_id, entry.reason) == (str(olga.pk), "called, and named her last invoice")
    assert client.get("/admin/").status_code == 200, "other people's sessions go on"
    call_command("reset_factors", other.username, reason="the telephone is lost")
    assert client.get("/admin/").status_code == 302


def test_sessions_are_listed_and_ended(olga: User) -> None:
    here, there = signed_in(olga), signed_in(olga)
    page = here.get("/account/sessions/").content.decode()
    assert page.count("127.0.0.1") >= 2
    assert here.post("/account/sessions/").status_code == 302
    assert here.get("/admin/").status_code == 200
    assert there.get("/admin/").status_code == 302
