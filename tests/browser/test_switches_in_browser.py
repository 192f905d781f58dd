"""The kill switches in a real browser, with the keyboard alone: the next call over the official SDK is refused with the right
words, and after the switch back it is answered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from llm.models import LanguageModel, Provider
from tenants.keys.editing import issue_key
from tenants.models import Tenant
from tests.api.conftest import ask
from tests.books import eventually
from tests.browser.visits import (
    DESKTOP,
    NARROW_DARK,
    Window,
    judge,
    keep_picture,
    needs_axe,
    needs_chromium,
    visitor,
)
from tests.world import Deployment, Member, Operator, World

pytestmark = [*needs_chromium, needs_axe]
BOTH = pytest.mark.parametrize("window", [DESKTOP, NARROW_DARK], ids=str)


@dataclass(frozen=True)
class Switch:
    """A page with two buttons, what the dialog of the first says, and what a call then hears."""

    page: str
    off: str
    on: str
    effect: str
    status: int
    words: str


def switches(member: Member, deployment: Deployment) -> dict[str, Switch]:
    model = LanguageModel.objects.get(name=deployment.model).pk
    account = Provider.objects.get(name=deployment.provider).pk
    return {
        "tenant": Switch(
            f"/admin/tenants/tenant/{member.id}/overview/", "suspend", "resume", "refused", 403, "suspended"
        ),
        "model": Switch(
            f"/admin/llm/languagemodel/{model}/change/",
            "switch_off",
            "switch_on",
            "In the last hour it answered",
            503,
            f"The model '{deployment.model}' is switched off",
        ),
        "account": Switch(
            f"/admin/llm/provider/{account}/change/",
            "disable",
            "enable",
            f"{deployment.model} (",
            503,
            "",
        ),
    }


@BOTH
@pytest.mark.parametrize("kind", ["tenant", "model", "account"])
def test_it_works(
    world: World,
    make_tenant: Callable[..., Member],
    make_deployment: Callable[..., Deployment],
    operator_account: Operator,
    kind: str,
    window: Window,
) -> None:
    member, deployment = make_tenant("switched"), make_deployment()
    switch = switches(member, deployment)[kind]
    client = world.openai(member)
    ask(client, model=deployment.model, max_tokens=5)

    def refusal() -> tuple[int, str]:
        try:
            ask(client, model=deployment.model, max_tokens=5)
        except openai.APIStatusError as error:
            return error.status_code, error.message
        return 200, ""

    with visitor(world.stack.base_url, operator_account, window) as page:
        page.goto(switch.page)
        dialog = opened(page, switch.off)
        assert switch.effect in dialog
        problems = judge(page)
        keep_picture(page, f"switch-{kind}-{window}")
        page.keyboard.press("Escape")
        page.wait_for_selector("#dialog", state="hidden")
        assert refusal() == (200, ""), "looking changes nothing"

        page.goto(switch.page)
        opened(page, switch.off)
        answered(page, "a customer called")
        eventually(lambda: refusal()[0] == switch.status)
        assert switch.words in refusal()[1]

        page.goto(switch.page)
        opened(page, switch.on)
        answered(page, "it is over")
        eventually(lambda: refusal()[0] == 200)
    assert problems == []


@BOTH
def test_many_keys_are_revoked_after_a_page_that_says_the_effect(
    world: World, make_tenant: Callable[..., Member], operator_account: Operator, window: Window
) -> None:
    member = make_tenant("leaky")
    keys = [issue_key(Tenant.objects.get(pk=member.id), name=f"leaked-{number}")[0] for number in range(2)]
    with visitor(world.stack.base_url, operator_account, window) as page:
        page.goto(f"/admin/tenants/apikey/?q={keys[0].public_id}")
        page.locator("[name=_selected_action]").first.check()
        page.select_option("[name=action]", "revoke_selected")
        page.locator("[name=action]").evaluate("field => field.form.requestSubmit()")
        page.get_by_text("cannot be undone").wait_for()
        text = page.inner_text("main") if page.locator("main").count() else page.inner_text("body")
        assert "leaked-0" in text
        assert "None of them was used since yesterday" in text
        problems = judge(page)
        keep_picture(page, f"revoke-many-{window}")
        page.get_by_role("button", name="Revoke them for good").focus()
        page.keyboard.press("Enter")
        page.get_by_text("1 keys revoked").wait_for()
    for key in keys:
        key.refresh_from_db()
    assert keys[0].revoked_at is not None
    assert keys[1].revoked_at is None
    assert problems == []


def opened(page: Any, verb: str) -> str:
    """Reach a button with the Tab key and press it; what its dialog says."""
    reach(page, f"[hx-get*='/{verb}']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#dialog")
    return str(page.inner_text("#dialog"))


def answered(page: Any, reason: str) -> None:
    """Fill the dialog in and send it."""
    reach(page, "#dialog [name=reason]")
    page.keyboard.type(reason)
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    page.wait_for_selector("#dialog", state="detached")


def reach(page: Any, selector: str, *, most: int = 250) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
        is_menu = "more_horiz" in page.evaluate("document.activeElement?.innerText || ''")
        if is_menu and not page.locator(f"{selector}:visible").count():
            page.keyboard.press("Enter")  # of a narrow window, which holds the buttons
    raise AssertionError(f"the keyboard does not reach {selector}")
