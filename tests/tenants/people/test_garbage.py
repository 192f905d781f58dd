"""Every address of signing in and of one's account answers whatever is posted to it: never a failure, never a stack trace.

The addresses are those that there are, so that a new page is tried too.
"""

import secrets
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tenants.models import IdentityProvider, Tenant
from tests.effort import share
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, identity_provider

PASSWORD = "correct horse battery"
ROOMS = ("account/", "admin/login/", "portal/login/")
# as parts of addresses
PARTS = ("x", "0", "9" * 400, "a-b", "%00", "%F0%9F%94%91", "..%2F..", "'\"<b>", "x" * 3_000)
TEXTS = (
    "",
    "0",
    "-1",
    "\0",
    "🔑" * 50,
    "1" * 5_000,
    "x" * 100_000,
    "[" * 5_000,
    "'\"<b>",
    "https://evil.example/",
    "None",
)
FIELDS = (
    "action", "code", "credential", "email", "id", "key", "login", "name", "next", "oldpassword", "password", "password1",
    "password2", "passwordless", "process", "session", "state", "username",
)  # fmt: skip


def addresses(patterns: Any = None, before: str = "") -> Iterator[str]:
    """The addresses of the site's first rooms, with `{}` for each part that varies."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        here = before + shape_of(one)
        if isinstance(one, URLResolver):
            yield from addresses(one.url_patterns, here)
        elif isinstance(one, URLPattern) and here.startswith(ROOMS):
            yield f"/{here}"


def shape_of(one: Any) -> str:
    """A route without its converters; a regular expression as its names stand in it."""
    route, found = str(one.pattern), ""
    while "<" in route:
        literal, _, rest = route.partition("<")
        _, _, route = rest.partition(">")
        if literal.endswith("(?P"):
            literal, (_, _, route) = literal.removesuffix("(?P"), route.partition(")")
        found += literal + "{}"
    return (found + route).replace("^", "").replace("$", "")


ADDRESSES = sorted(set(addresses()))


class Visitors:
    """A stranger, somebody who has given the password and owes a code, and somebody who is in."""

    def __init__(self, tenant: Tenant) -> None:
        self.stranger = Client(raise_request_exception=False)
        self.waiting = Client(raise_request_exception=False)
        guarded = person_of("guarded")
        TOTP.activate(guarded, generate_totp_secret())
        RecoveryCodes.activate(guarded)
        give_password(self.waiting, guarded)
        self.inside = Client(raise_request_exception=False)
        self.person = person_of("inside")
        give_password(self.inside, self.person)
        self.inside.post("/account/reauthenticate/", {"password": PASSWORD})

    def all(self) -> dict[str, Client]:
        if "_auth_user_id" not in self.inside.session:  # some pages sign out
            give_password(self.inside, self.person)
        return {"stranger": self.stranger, "waiting": self.waiting, "inside": self.inside}


def person_of(name: str) -> User:
    return User.objects.create_superuser(
        f"{name}-{secrets.token_hex(4)}", email=f"{secrets.token_hex(4)}@acme.example", password=PASSWORD
    )


def give_password(client: Client, user: User) -> None:
    forget()
    assert (
        client.post("/account/login/", {"username": user.username, "password": PASSWORD}).status_code == 302
    )


def forget() -> None:
    """Let the next attempt be looked at: limits are tested elsewhere."""
    for name in ("default", "logins"):
        caches[name].clear()


@pytest.fixture
def visitors(tenant: Tenant) -> Visitors:
    return Visitors(tenant)


def is_answered(answer: Any, what: str) -> None:
    assert answer.status_code < 500, what
    assert "Traceback" not in answer.content.decode(errors="replace"), what


def test_it_works() -> None:
    """The pages that there are, are found."""
    assert {
        "/account/login/",
        "/account/2fa/authenticate/",
        "/account/invitation/{}/",
        "/account/oidc/{}/login/callback/",
    } < set(ADDRESSES)
    assert "/account/password/reset/key/{}-{}/" in ADDRESSES
    assert len(ADDRESSES) > 40


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_that_is_posted_is_a_failure(address: str, visitors: Visitors) -> None:
    fields = [{name: text for name in FIELDS} for text in TEXTS]
    fields += [
        {},
        {"code": "000000"},
        *({"credential": text} for text in ("{}", "[" * 5_000, "1" * 5_000, "\0")),
    ]
    turn = ADDRESSES.index(address)
    for number, sent in enumerate(share(fields, one_in=4, turn=turn)):
        url = address.replace("{}", PARTS[0])
        for who, client in share([*visitors.all().items()], one_in=3, turn=turn + number):
            forget()
            is_answered(client.post(url, sent), f"{who}: {url} {str(sent)[:200]}")


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_a_failure(address: str, visitors: Visitors) -> None:
    queries = [
        "",
        "?next=//evil.example",
        "?code=x&state=y",
        "?error=" + "x" * 2_000,
        "?next=%00",
        "?code=%00&state=%00",
    ]
    turn = ADDRESSES.index(address)
    whole = [*product(PARTS if "{}" in address else ("",), queries)]
    for number, (part, query) in enumerate(share(whole, one_in=2, turn=turn)):
        url = address.replace("{}", part) + query
        for who, client in share([*visitors.all().items()], one_in=3, turn=turn + number):
            forget()
            is_answered(client.get(url), f"{who}: {url[:200]}")


def test_no_cookie_is_a_failure(visitors: Visitors) -> None:
    for name, text in product(
        ("sessionid", "purser_device", "csrftoken", "mfa_trust", "messages"), TEXTS[1:]
    ):
        client = Client(raise_request_exception=False)
        client.cookies[name] = text.replace("\0", "%00")[:4_000].encode().decode("latin-1")
        is_answered(client.get("/account/login/"), f"{name}={text[:50]}")
        is_answered(client.post("/account/login/", {"username": "x", "password": "y"}), f"{name}={text[:50]}")
        forget()


def test_a_provider_whose_answers_are_garbage_is_a_page(tenant: Tenant) -> None:
    """What somebody brings back from a provider, and what the provider itself says."""
    with identity_provider(sub="s", email="dana@acme.example", email_verified=True) as company:
        row = IdentityProvider.objects.create(
            name="Acme", slug=f"acme-{secrets.token_hex(4)}", issuer=company.url, client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET, domains=["acme.example"], tenant=tenant,
        )  # fmt: skip
        client = Client(raise_request_exception=False)
        sent = client.get(f"/account/oidc/{row.slug}/login/")
        state = sent["location"].partition("state=")[2].partition("&")[0]
        for said, known in product((*TEXTS, "x" * 2_000), (state, "x", "")):
            if len(said) > 5_000:
                continue
            client.get(f"/account/oidc/{row.slug}/login/")
            answer = client.get(f"/account/oidc/{row.slug}/login/callback/", {"code": said, "state": known})
            is_answered(answer, f"code={said[:50]!r} state={known!r}")
            assert "_auth_user_id" not in client.session
