"""People come from their company's identity provider, into the account that is theirs and no other."""

import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from allauth.account.models import EmailAddress
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from django.test import Client

from tenants.models import AuditEntry, IdentityProvider, Membership, Tenant
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, Provider, identity_provider
from tests.world import new_tenant


@pytest.fixture
def company() -> Iterator[Provider]:
    claims = {"sub": f"sub-{secrets.token_hex(4)}", "email": f"dana-{secrets.token_hex(4)}@acme.example"}
    with identity_provider(**claims, email_verified=True, name="Dana Demo") as provider:
        yield provider


@pytest.fixture
def row(company: Provider, tenant: Tenant) -> IdentityProvider:
    return IdentityProvider.objects.create(
        name="Acme", slug=f"acme-{secrets.token_hex(4)}", issuer=company.url, client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET, domains=["acme.example"], tenant=tenant,
    )  # fmt: skip


def come(row: IdentityProvider, client: Client | None = None) -> tuple[Client, Any]:
    """Go to the provider and back, as a browser does; the page that is seen in the end."""
    client = client or Client()
    sent = client.get(f"/account/oidc/{row.slug}/login/")
    assert sent.status_code == 302, sent.content
    back = requests.get(sent["location"], allow_redirects=False, timeout=10).headers["location"]
    return client, client.get(f"{urlsplit(back).path}?{urlsplit(back).query}")


def email_of(company: Provider) -> str:
    return str(company.claims["email"])


def signed_in(client: Client) -> User | None:
    return User.objects.filter(pk=client.session.get("_auth_user_id")).first()


def test_it_works(company: Provider, row: IdentityProvider, tenant: Tenant) -> None:
    client, page = come(row)
    assert (page.status_code, page["location"]) == (302, "/portal/")
    user = signed_in(client)
    assert user is not None
    assert (user.email, user.has_usable_password(), user.is_staff) == (email_of(company), False, False)
    assert Membership.objects.get(user=user).tenant == tenant
    assert Membership.objects.get(user=user).role == "member"
    assert EmailAddress.objects.get(user=user).verified
    assert AuditEntry.objects.filter(person=user, verb="signed in", tenant=tenant).exists()


def test_the_second_time_it_is_the_same_account(company: Provider, row: IdentityProvider) -> None:
    first, second = (signed_in(come(row)[0]) for _ in range(2))
    assert first is not None
    assert first == second


def test_the_button_is_on_the_page(row: IdentityProvider) -> None:
    assert f"/account/oidc/{row.slug}/login/" in Client().get("/portal/login/").content.decode()
    row.is_active = False
    row.save()
    assert row.slug not in Client().get("/portal/login/").content.decode()
    assert Client().get(f"/account/oidc/{row.slug}/login/").status_code == 404


def test_claims_give_the_role_and_the_tenant(company: Provider, row: IdentityProvider) -> None:
    other = new_tenant("claimed")
    row.tenant, row.tenant_claim, row.role_claim = None, "company", "groups"
    row.roles = {"purser-owners": "owner"}
    row.save()
    company.claims |= {"company": other.slug, "groups": ["staff", "purser-owners"]}
    client, _ = come(row)
    membership = Membership.objects.get(user=signed_in(client))
    assert (membership.tenant, membership.role) == (other, "owner")


def test_who_belongs_nowhere_does_not_come_in(company: Provider, row: IdentityProvider) -> None:
    row.tenant = None
    row.save()
    client, page = come(row)
    assert signed_in(client) is None
    assert "by invitation" in page.content.decode()
    assert not User.objects.filter(email=email_of(company)).exists()


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email": "dana@evil.example"}, {"email": ""}])
def test_an_address_that_is_not_vouched_for_opens_nothing(
    company: Provider, row: IdentityProvider, claims: dict[str, Any]
) -> None:
    user = User.objects.create_user(f"victim-{secrets.token_hex(4)}", email=email_of(company))
    company.claims |= claims
    client, page = come(row)
    assert signed_in(client) is None
    assert page["location"] == "/account/login/"
    assert not user.socialaccount_set.exists()
    assert AuditEntry.objects.filter(verb="failed to sign in", reason__startswith="Your company").exists()


def test_a_verified_address_finds_its_account(
    company: Provider, row: IdentityProvider, tenant: Tenant
) -> None:
    user = User.objects.create_user(
        f"dana-{secrets.token_hex(4)}", email=email_of(company), password="x" * 20
    )
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    Membership.objects.create(user=user, tenant=tenant, role="owner")
    client, _ = come(row)
    assert signed_in(client) == user
    assert Membership.objects.get(user=user).role == "owner"


def test_an_account_whose_address_nobody_proved_loses_its_password(
    company: Provider, row: IdentityProvider, tenant: Tenant
) -> None:
    """Somebody may have made it to wait for its owner."""
    user = User.objects.create_user(
        f"dana-{secrets.token_hex(4)}", email=email_of(company), password="x" * 20
    )
    assert signed_in(come(row)[0]) == user
    user.refresh_from_db()
    assert not user.has_usable_password()


@pytest.mark.parametrize("kind", ["staff", "of another tenant"])
def test_a_tenants_provider_opens_no_account_of_others(
    company: Provider, row: IdentityProvider, tenant: Tenant, kind: str
) -> None:
    user = User.objects.create_user(
        f"victim-{secrets.token_hex(4)}", email=email_of(company), is_staff=kind == "staff"
    )
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    if kind != "staff":
        Membership.objects.create(user=user, tenant=new_tenant("other"), role="owner")
    client, _ = come(row)
    assert signed_in(client) is None
    assert not user.socialaccount_set.exists()


def test_who_became_staff_later_does_not_come_in_by_a_tenants_provider(
    company: Provider, row: IdentityProvider
) -> None:
    user = signed_in(come(row)[0])
    assert user is not None
    User.objects.filter(pk=user.pk).update(is_staff=True)
    assert signed_in(come(row)[0]) is None


def test_a_token_of_another_key_is_refused(company: Provider, row: IdentityProvider) -> None:
    company.signs_with = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert signed_in(come(row)[0]) is None


def test_a_profile_of_somebody_else_is_refused(company: Provider, row: IdentityProvider) -> None:
    company.profile = {**company.claims, "sub": "somebody-else"}
    assert signed_in(come(row)[0]) is None


def test_another_issuer_than_the_configured_one_is_refused(company: Provider, row: IdentityProvider) -> None:
    company.issuer = "https://evil.example"
    assert signed_in(come(row)[0]) is None


def test_a_code_is_of_the_browser_that_asked(company: Provider, row: IdentityProvider) -> None:
    """A link with somebody's code, given to somebody else, signs nobody in."""
    sent = Client().get(f"/account/oidc/{row.slug}/login/")
    back = requests.get(sent["location"], allow_redirects=False, timeout=10).headers["location"]
    other = Client()
    other.get(f"{urlsplit(back).path}?{urlsplit(back).query}")
    assert signed_in(other) is None


def test_a_provider_that_is_down_is_a_page_and_no_error(row: IdentityProvider) -> None:
    row.issuer = "http://127.0.0.1:9"
    row.save()
    answer = Client().get(f"/account/oidc/{row.slug}/login/")
    assert answer.status_code < 500
