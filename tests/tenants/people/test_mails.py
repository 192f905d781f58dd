"""What comes by e-mail and opens an account: a new password and a code, asked for over HTTP and read from the outbox."""

import email
import email.policy
import re
import secrets
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import requests
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import User

from tests.books import eventually
from tests.stack import Stack

OLD, NEW = "correct horse battery", "staple of another kind"


class Browser:
    """A client that follows nothing, keeps cookies, and sends forms as pages ask for it."""

    def __init__(self, base_url: str) -> None:
        self.base_url, self.session = base_url, requests.Session()

    def get(self, path: str) -> requests.Response:
        return self.session.get(f"{self.base_url}{path}", allow_redirects=False, timeout=60)

    def post(self, path: str, **fields: str) -> requests.Response:
        page = self.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None, page.text
        return self.session.post(
            f"{self.base_url}{path}",
            data={"csrfmiddlewaretoken": token[1], **fields},
            allow_redirects=False,
            timeout=60,
        )

    def sign_in(self, user: User, password: str) -> bool:
        answer = self.post("/portal/login/", username=user.username, password=password)
        return answer.status_code == 302

    def is_in(self) -> bool:
        return self.get("/portal/").status_code == 200


@pytest.fixture
def dana(committed: None) -> Iterator[User]:
    name = f"dana-{secrets.token_hex(4)}"
    user = User.objects.create_user(name, email=f"{name}@acme.example", password=OLD)
    yield user
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.fixture
def browser(stack: Stack) -> Any:
    return lambda: Browser(stack.base_url)


def mails_to(home: Path, address: str) -> list[EmailMessage]:
    """The outbox' mails to an address, the oldest first."""
    found = []
    for file in sorted((home / "mail").glob("*.log"), key=lambda file: file.stat().st_mtime_ns):
        for part in re.split(rb"^-{79}\n", file.read_bytes(), flags=re.MULTILINE):
            message = email.message_from_bytes(part, policy=email.policy.default)
            if message["to"] == address:
                found.append(message)
    return found


def text_of(home: Path, address: str, *, number: int = 1) -> str:
    mails = eventually(lambda: mails_to(home, address), until=lambda found: len(found) >= number)
    return str(mails[number - 1].get_body(("plain",)).get_content())


def test_it_works(dana: User, browser: Any, home: Path) -> None:
    """A forgotten password."""
    here, elsewhere = browser(), browser()
    assert elsewhere.sign_in(dana, OLD)
    assert here.post("/account/password/reset/", email=dana.email).status_code == 302
    link = re.search(r"https?://[^/]+(/account/password/reset/key/\S+)", text_of(home, dana.email))
    assert link is not None
    form = here.get(link[1])
    assert form.status_code == 302
    assert here.post(form.headers["location"], password1="short", password2="short").status_code == 200
    assert here.post(form.headers["location"], password1=NEW, password2=NEW).status_code == 302
    assert not here.sign_in(dana, OLD)
    assert here.sign_in(dana, NEW)
    assert not elsewhere.is_in(), "whoever knew the old one is out"
    assert "password" in text_of(home, dana.email, number=2), "the change is told by e-mail"
    assert NEW not in browser().get(link[1]).text
    assert browser().get(link[1]).status_code == 200, "the link is good for once: a page that says so"


def test_a_code_signs_in_once(dana: User, browser: Any, home: Path) -> None:
    here = browser()
    answer = here.post("/account/login/code/", email=dana.email)
    confirm = answer.headers["location"]
    code = code_in(text_of(home, dana.email))
    assert here.post(confirm, code="WRONG-CODE").status_code == 200
    assert not here.is_in()
    assert here.post(confirm, code=code).headers["location"] == "/portal/"
    assert here.is_in()
    other = browser()
    other.post("/account/login/code/", email=dana.email)
    other.post(confirm, code=code)
    assert not other.is_in(), "a code belongs to the browser that asked, and to one sign-in"


def test_a_code_has_three_attempts(dana: User, browser: Any, home: Path) -> None:
    here = browser()
    confirm = here.post("/account/login/code/", email=dana.email).headers["location"]
    code = code_in(text_of(home, dana.email))
    for _ in range(3):
        here.post(confirm, code="WRONG-CODE")
    assert here.get(confirm).status_code == 302, "there is no code any more"
    assert not here.is_in()
    assert code not in here.get("/portal/login/").text


def test_a_code_does_not_replace_the_second_factor(dana: User, browser: Any, home: Path) -> None:
    TOTP.activate(dana, generate_totp_secret())
    here = browser()
    confirm = here.post("/account/login/code/", email=dana.email).headers["location"]
    answer = here.post(confirm, code=code_in(text_of(home, dana.email)))
    assert answer.headers["location"] == "/account/2fa/authenticate/"
    assert not here.is_in()


@pytest.mark.parametrize("path", ["/account/password/reset/", "/account/login/code/"])
def test_a_stranger_learns_nothing_and_gets_no_mail(dana: User, browser: Any, home: Path, path: str) -> None:
    unknown = f"nobody-{secrets.token_hex(4)}@acme.example"
    answers = [browser().post(path, email=address) for address in (unknown, dana.email)]
    assert len({(answer.status_code, answer.headers["location"]) for answer in answers}) == 1
    text_of(home, dana.email)
    assert mails_to(home, unknown) == []


def code_in(text: str) -> str:
    found = re.search(r"^\s*([A-Z0-9]{3,5}-?[A-Z0-9]{3,5})\s*$", text, flags=re.MULTILINE)
    assert found is not None, text
    return found[1]
