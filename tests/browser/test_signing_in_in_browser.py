"""Signing in in a real browser: with the keyboard alone, and with pages that everybody can use."""

import pytest

from tests.browser.visits import (
    DESKTOP,
    WINDOWS,
    Window,
    judge,
    keep_picture,
    needs_axe,
    needs_chromium,
    visitor,
)
from tests.world import Operator, World

pytestmark = [*needs_chromium, needs_axe]
OWN = (
    "/account/2fa/",
    "/account/2fa/totp/activate/",
    "/account/sessions/",
    "/account/email/",
    "/account/password/change/",
)
STRANGERS = (
    "/portal/login/",
    "/account/login/code/",
    "/account/password/reset/",
    "/account/invitation/unknown/",
)


def test_it_works(world: World, operator_account: Operator) -> None:
    """With the keyboard alone."""
    with visitor(world.stack.base_url, None, DESKTOP) as page:
        page.goto("/admin/login/")
        for text in (operator_account.name, operator_account.password):  # the first field has the focus
            page.keyboard.type(text)
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "A":  # the way to a new password
                page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/admin/")


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_the_pages_can_be_used_by_everybody(world: World, operator_account: Operator, window: Window) -> None:
    base_url = world.stack.base_url
    assert [
        *looked_at(base_url, None, STRANGERS, window),
        *looked_at(base_url, operator_account, OWN, window),
    ] == []


def looked_at(base_url: str, operator: Operator | None, paths: tuple[str, ...], window: Window) -> list[str]:
    problems: list[str] = []
    with visitor(base_url, operator, window) as page:
        for path in paths:
            page.goto(path)
            if "/reauthenticate/" in page.url:  # the password once more
                problems += judge(page)
                page.fill("[name=password]", operator.password if operator else "")
                page.keyboard.press("Enter")
                page.wait_for_url(f"**{path}")
            keep_picture(page, f"{path.strip('/').replace('/', '-')}-{window}")
            if page.evaluate("document.documentElement.scrollWidth") > window.width:
                problems.append(f"{path} is wider than its window")
            problems += judge(page)
    return problems
