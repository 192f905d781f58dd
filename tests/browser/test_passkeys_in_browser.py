"""Passkeys in a real browser with an authenticator of its own: added, signed in with, and asked for after the password.

The pages run under their own content security policy; `localhost` is where browsers allow passkeys without TLS.
"""

from typing import Any

import pytest

from tests.browser.visits import NARROW_DARK, judge, keep_picture, needs_axe, needs_chromium, visitor
from tests.world import Operator, World

pytestmark = needs_chromium


@pytest.fixture
def address(world: World) -> str:
    return world.stack.base_url.replace("127.0.0.1", "localhost")


class Authenticator:
    """What a telephone or a laptop does: it keeps keys and knows its person."""

    def __init__(self, page: Any) -> None:
        self.devtools = page.context.new_cdp_session(page)
        self.devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self.id = self.devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})[
            "authenticatorId"
        ]

    def lose_its_keys(self) -> None:
        self.devtools.send("WebAuthn.clearCredentials", {"authenticatorId": self.id})

    def know(self, *, person: bool) -> None:
        self.devtools.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": person})


def confirm(page: Any, operator: Operator) -> None:
    """The password once more: who found an open screen does not change factors."""
    page.wait_for_url("**/account/reauthenticate/**")
    page.fill("[name=password]", operator.password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/reauthenticate/" not in url)


def add_passkey(page: Any, operator: Operator) -> None:
    page.goto("/account/2fa/webauthn/add/")
    confirm(page, operator)
    page.fill("[name=name]", "the laptop")
    page.check("[name=passwordless]")
    page.click("#mfa_webauthn_add")
    page.wait_for_url(lambda url: "/webauthn/add/" not in url)
    page.goto("/account/2fa/webauthn/")
    assert "the laptop" in page.inner_text("main")


def sign_out(page: Any) -> None:
    page.goto("/account/logout/")
    page.click("main button")
    page.wait_for_url("**/account/login/")


def give_password(page: Any, operator: Operator) -> None:
    page.goto("/admin/login/")
    page.fill("[name=username]", operator.name)
    page.fill("[name=password]", operator.password)
    page.keyboard.press("Enter")


def test_it_works(address: str, operator_account: Operator) -> None:
    with visitor(address, operator_account, bypass_csp=False) as page:
        authenticator = Authenticator(page)
        add_passkey(page, operator_account)

        sign_out(page)  # without a password
        page.goto("/admin/login/")
        page.click("#passkey_login")
        page.wait_for_url("**/admin/")

        sign_out(page)  # after the password
        give_password(page, operator_account)
        page.wait_for_url("**/account/2fa/authenticate/")
        page.goto("/admin/")
        assert page.url.endswith("/account/2fa/authenticate/"), "the password alone is not enough"
        page.click("#mfa_webauthn_authenticate")
        page.wait_for_url("**/admin/")

        sign_out(page)
        authenticator.lose_its_keys()
        page.goto("/admin/login/")
        page.click("#passkey_login")
        page.wait_for_selector("[role=alert]:has-text('The passkey was not used')")


def test_a_passkey_that_does_not_know_its_person_does_not_replace_the_password(
    address: str, operator_account: Operator
) -> None:
    with visitor(address, operator_account, bypass_csp=False) as page:
        authenticator = Authenticator(page)
        add_passkey(page, operator_account)
        sign_out(page)
        authenticator.know(person=False)
        page.goto("/admin/login/")
        page.click("#passkey_login")
        page.wait_for_selector("[role=alert]:has-text('The passkey was not used')")
        page.goto("/admin/")
        assert "/login/" in page.url


def test_a_page_says_where_passkeys_do_not_work(world: World, operator_account: Operator) -> None:
    with visitor(world.stack.base_url, None, bypass_csp=False) as page:
        Authenticator(page)
        page.goto("/admin/login/")
        page.click("#passkey_login")
        page.wait_for_selector("[role=alert]:has-text('or localhost')")


@needs_axe
def test_the_pages_of_factors_can_be_used_by_everybody(address: str, operator_account: Operator) -> None:
    """Those that somebody sees only with a factor."""
    with visitor(address, operator_account, NARROW_DARK) as page:
        Authenticator(page)
        add_passkey(page, operator_account)
        problems = []
        rename, remove = (
            page.get_attribute(f"main a:has-text('{text}')", "href") for text in ("Rename", "Remove")
        )
        paths = ["/account/2fa/", "/account/2fa/webauthn/", "/account/2fa/webauthn/add/", rename, remove]
        for path in (*paths, "/account/2fa/totp/activate/", "/account/2fa/recovery-codes/"):
            page.goto(path)
            assert page.url.endswith(path)
            problems += looked_at(page, path)
        sign_out(page)
        give_password(page, operator_account)
        page.wait_for_url("**/account/2fa/authenticate/")
        problems += looked_at(page, page.url)
        assert problems == []


def looked_at(page: Any, path: str) -> list[str]:
    keep_picture(page, f"factors-{path.partition('/account/')[2].strip('/').replace('/', '-')}")
    width = page.evaluate("document.documentElement.scrollWidth")
    return judge(page) + ([f"{path} is wider than its window"] if width > NARROW_DARK.width else [])
