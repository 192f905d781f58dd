"""Guessing a password becomes slow, and keeps nobody out; sessions end; pages load nothing of strangers."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from config.site.pages import SESSION_BEGAN
from tenants.signing_in.guesses import Counter, counters_of, take_turn
from tests.admin.office import Office

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def nobody_has_guessed() -> Iterator[None]:
    caches["logins"].clear()
    yield
    caches["logins"].clear()


class CountedHasher(MD5PasswordHasher):
    """A hash is slow on purpose, and these tests make hundreds: this one is quick, and counted."""

    algorithm = "counted"
    made = 0

    def encode(self, password: str, salt: str) -> str:
        CountedHasher.made += 1
        return super().encode(password, salt)


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    CountedHasher.made = 0
    settings.PASSWORD_HASHERS = [f"{__name__}.CountedHasher"]


@pytest.fixture
def olga(office: Office, quick_hashes: None) -> User:
    office.olga.set_password(PASSWORD)
    office.olga.save()
    return office.olga


def attempt(
    client: Client, password: str = "wrong", *, username: str = "olga", address: str = "198.51.100.1"
) -> int:
    answer = client.post(LOGIN, {"username": username, "password": password}, REMOTE_ADDR=address)
    return answer.status_code


def test_it_works(olga: User) -> None:
    client = Client()
    assert attempt(client) == 200
    answer = client.post(LOGIN, {"username": "olga", "password": PASSWORD})
    assert (answer.status_code, answer["location"]) == (302, "/admin/")
    assert client.get(reverse("admin:index")).status_code == 200


def test_people_who_are_no_staff_go_to_the_portal_from_everywhere(olga: User) -> None:
    """And are not sent back and forth between two pages."""
    User.objects.create_user("dana", email="dana@example.com", password=PASSWORD)
    for page in ("/portal/login/", "/account/login/", LOGIN, f"{LOGIN}?next=/admin/billing/budget/"):
        client = Client()
        fields = {"username": "dana@example.com", "password": PASSWORD}
        if "next=" in page:
            fields["next"] = "/admin/billing/budget/"
        assert client.post(page, fields)["location"] == "/portal/", page
        assert client.get(page)["location"] == "/portal/", page


def test_the_page_wanted_is_the_page_given(olga: User) -> None:
    client = Client()
    wanted = reverse("admin:billing_budget_changelist")
    assert client.get(wanted)["location"] == f"{LOGIN}?next={wanted}"
    fields = {"username": "olga", "password": PASSWORD, "next": wanted}
    assert client.post(LOGIN, fields)["location"] == wanted
    away = {"username": "olga", "password": PASSWORD, "next": "https://evil.example/admin/"}
    assert Client().post(LOGIN, away)["location"] == "/admin/"


def test_wrong_guesses_wait(olga: User) -> None:
    assert [attempt(Client()) for _ in range(7)] == [200] * 6 + [429]
    refused = Client().post(LOGIN, {"username": "olga", "password": PASSWORD})
    assert refused.status_code == 429
    assert int(refused["retry-after"]) > 1
    assert "Too many attempts" in refused.content.decode()


def test_an_attempt_that_waits_costs_no_hash(olga: User) -> None:
    for _ in range(7):
        attempt(Client())
    made = CountedHasher.made
    assert made >= 6
    for _ in range(5):
        assert attempt(Client()) == 429
    assert CountedHasher.made == made


def test_a_stranger_waits_at_their_address_whatever_they_try(olga: User) -> None:
    """And takes no turns of the account from there."""
    answers = [attempt(Client(), username=f"user-{number}") for number in range(23)]
    assert answers == [200] * 21 + [429] * 2
    for _ in range(9):
        attempt(Client())
    assert attempt(Client(), PASSWORD, address="203.0.113.9") == 302


def test_a_neighbourhood_of_ipv6_is_one_stranger(olga: User) -> None:
    answers = [
        attempt(Client(), username=f"user-{number}", address=f"2001:db8::{number:x}") for number in range(22)
    ]
    assert answers[-1] == 429


def test_a_stranger_keeps_nobody_out_of_a_browser_they_know(olga: User) -> None:
    client = Client()
    assert attempt(client, PASSWORD) == 302
    client.logout()  # which drops the cookies, as no browser does
    client.cookies["purser_device"] = device = client_cookie(PASSWORD)
    for number in range(40):
        attempt(Client(), address=f"198.51.100.{number}")
    assert attempt(Client(), PASSWORD) == 429
    assert attempt(client, PASSWORD) == 302
    thief = Client()
    thief.cookies["purser_device"] = device
    assert [attempt(thief) for _ in range(12)][-1] == 429, "the cookie is no way to guess for ever"


def client_cookie(password: str) -> str:
    client = Client()
    assert attempt(client, password, address="192.0.2.1") == 302
    cookie = client.cookies["purser_device"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    return cookie.value


def test_a_cookie_of_another_account_or_of_nobodys_is_none(olga: User) -> None:
    User.objects.create_user("mallory", password=PASSWORD, is_staff=True)
    own = Client()
    assert attempt(own, PASSWORD, username="mallory", address="192.0.2.7") == 302
    for cookie in (own.cookies["purser_device"].value, "x", "a:b:c", ""):
        caches["logins"].clear()
        client = Client()
        client.cookies["purser_device"] = cookie
        assert [attempt(client) for _ in range(7)][-1] == 429


def test_logging_in_does_not_clear_what_an_address_has_guessed(olga: User) -> None:
    User.objects.create_user("mallory", password=PASSWORD, is_staff=True)
    for number in range(15):
        attempt(Client(), username=f"user-{number}")
    assert attempt(Client(), PASSWORD, username="mallory") == 302
    assert [attempt(Client(), username=f"other-{number}") for number in range(7)][-1] == 429


def test_pauses_double_up_to_the_longest(db: None) -> None:
    counters = counters_of("olga", address="198.51.100.1")
    pauses = [take_turn(counters) for _ in range(19)]
    assert pauses == [0] * 6 + [4, 8, 16, 32, *[60] * 9]
    assert all(isinstance(counter, Counter) and len(counter.key) < 60 for counter in counters)


def test_without_redis_each_process_counts(olga: User, settings: Any) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "logins": {**settings.CACHES["logins"], "LOCATION": "redis://127.0.0.1:1/0"},
    }
    caches["default"].clear()
    assert [attempt(Client()) for _ in range(7)] == [200] * 6 + [429]
    caches["default"].clear()


class TestPasswords:
    @pytest.mark.parametrize("password", ["short-one-1", "password1234", "198765432109876", "boris.petrov1"])
    def test_weak_ones_are_refused(self, password: str, office: Office) -> None:
        client = office.client(office.olga)
        fields = {
            "username": "boris.petrov",
            "password1": password,
            "password2": password,
            "usable_password": "true",
        }
        assert client.post(reverse("admin:auth_user_add"), fields).status_code == 200
        assert not User.objects.filter(username="boris.petrov").exists()

    def test_a_change_ends_the_other_sessions(self, olga: User) -> None:
        here, there = Client(), Client()
        for client in (here, there):
            assert attempt(client, PASSWORD) == 302
        new = "another horse battery"
        fields = {"oldpassword": PASSWORD, "password1": new, "password2": new}
        assert here.post(reverse("account_change_password"), fields).status_code == 302
        assert here.get(reverse("admin:index")).status_code == 200
        assert there.get(reverse("admin:index")).status_code == 302

    def test_preparing_again_keeps_a_changed_password(
        self, db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PURSER_ADMIN_PASSWORD", "from-the-secrets-file")
        call_command("ensure_admin", "keeper")
        user = User.objects.get(username="keeper")
        assert user.is_superuser
        assert user.check_password("from-the-secrets-file")
        user.set_password("chosen by a person")
        user.save()
        call_command("ensure_admin", "keeper")
        user.refresh_from_db()
        assert user.check_password("chosen by a person")
        call_command("ensure_admin", "keeper", "--reset-password")
        user.refresh_from_db()
        assert user.check_password("from-the-secrets-file")

    def test_an_operators_password_has_rules_too(self, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PURSER_ADMIN_PASSWORD", "admin")
        with pytest.raises(CommandError):
            call_command("ensure_admin", "keeper")
        assert not User.objects.filter(username="keeper").exists()


class TestSessions:
    def test_a_session_ends_after_its_longest(self, olga: User, settings: Any) -> None:
        client = Client()
        attempt(client, PASSWORD)
        session = client.session
        session[SESSION_BEGAN] -= settings.SESSION_LONGEST_SECONDS - 60
        session.save()
        assert client.get(reverse("admin:index")).status_code == 200
        session[SESSION_BEGAN] -= 60
        session.save()
        assert client.get(reverse("admin:index")).status_code == 302

    def test_a_session_ends_when_nobody_is_there(self, olga: User, settings: Any) -> None:
        client = Client()
        attempt(client, PASSWORD)
        left = client.session.get_expiry_age()
        assert left <= settings.SESSION_COOKIE_AGE <= 4 * 3600
        cookie = client.cookies["sessionid"]
        assert cookie["httponly"]
        assert int(cookie["max-age"]) == settings.SESSION_COOKIE_AGE

    def test_being_there_keeps_it(self, olga: User, settings: Any) -> None:
        client = Client()
        attempt(client, PASSWORD)
        session = client.session
        session[SESSION_BEGAN] -= 3600
        session.save()
        answer = client.get(reverse("admin:index"))
        assert int(answer.cookies["sessionid"]["max-age"]) == settings.SESSION_COOKIE_AGE
        assert "sessionid" not in client.get(reverse("admin:index")).cookies


def test_every_page_says_what_it_may_load(office: Office) -> None:
    client = office.client(office.olga)
    for url in (LOGIN, "/admin/", reverse("admin:billing_budget_changelist"), "/docs", "/admin/nowhere/"):
        policy = client.get(url)["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "script-src 'self' 'unsafe-eval';" in policy
        assert "frame-ancestors 'none'" in policy


def test_no_page_has_a_script_or_a_handler_of_its_own(office: Office) -> None:
    """Which the policy would keep from running."""
    client = office.client(office.olga)
    for url in (
        "/admin/",
        reverse("admin:billing_budget_changelist"),
        reverse("admin:billing_budget_add"),
        "/docs",
    ):
        page = client.get(url).content.decode()
        for tag in page.split("<script")[1:]:
            head, _, body = tag.partition(">")
            assert "src=" in head or "application/json" in head or not body.split("</script")[0].strip(), url
        assert " onclick=" not in page
