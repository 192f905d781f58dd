"""Why did my run stop? From the address in the refusal to a run that goes on, in every window, by keyboard; and the pages of
sessions, which axe-core finds nothing serious on."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.hands import Hands
from tests.browser.visits import WINDOWS, Window, judge, needs_axe, needs_chromium, visitor
from tests.world import Member, Operator, World

pytestmark = [*needs_chromium, needs_axe]
POLICY = {
    "cache": {"exact": False, "semantic": "off"},
    "envelopes": {"opens": "session", "usd": 0.0008, "most_usd": 50, "own_raises": 3},
}
SESSION = "9f1c2d34-5a6b-4c7d-8e9f-0a1b2c3d4e5f"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Desk:
    """A developer whose run has stopped: her name and password, her key, and what her tool was told."""

    name: str
    password: str
    member: Member
    message: str
    owner: str

    @property
    def address(self) -> str:
        """The path of the page that the refusal names."""
        return "/portal/runs/" + self.message.rpartition("/portal/runs/")[2].split()[0]


@pytest.fixture
def desk(world: World, make_tenant: Any) -> Desk:
    from django.contrib.auth.models import User

    from billing.ledger.rollups import rebuild_dirty
    from tenants.models import Membership, Tenant

    key = {"name": "alice", "secret": f"of-alice-{secrets.token_hex(20)}", "models": ["*"], "user": "alice"}
    member = make_tenant("stopped", policy=POLICY, more_keys=[key])
    member = Member(member.slug, key["secret"], member.id)
    told = [call(world, member, agent) for _ in range(3) for agent in ("", "a1", "b1")]
    messages = [answer["error"]["message"] for status, answer in told if status == 429]
    assert messages
    while rebuild_dirty():
        pass
    names, password = (f"alice-{secrets.token_hex(4)}", f"owen-{secrets.token_hex(4)}"), secrets.token_hex(12)
    tenant = Tenant.objects.get(pk=member.id)
    for name, role in zip(names, ("member", "owner"), strict=True):
        person = User.objects.create_user(name, password=password)
        Membership.objects.create(
            user=person, tenant=tenant, role=role, person="alice" if role == "member" else ""
        )
    return Desk(names[0], password, member, messages[-1], names[1])


def call(world: World, member: Member, agent: str) -> tuple[int, Any]:
    parents = {"b1": {"x-claude-code-parent-agent-id": "a1"}}
    headers = {"x-claude-code-session-id": SESSION, **parents.get(agent, {})}
    if agent:
        headers["x-claude-code-agent-id"] = agent
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 40}
    return world.request("POST", "/v1/chat/completions", body, member=member, headers=headers)


@contextmanager
def portal(world: World, name: str, password: str, window: Window, address: str) -> Iterator[Any]:
    """A page of the portal, after the login that stands before it."""
    with visitor(world.stack.base_url, None, window) as page:
        page.goto(address)
        page.fill("[name=username]", name)
        page.fill("[name=password]", password)
        page.keyboard.press("Enter")
        page.wait_for_url("**/portal/t/**")
        yield page


def seen(page: Any, name: str, window: Window) -> list[str]:
    """What is wrong with a page, which is kept as a picture where PICTURES names a folder."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}-{window}.png"), full_page=True)
    wide = page.evaluate(TOO_WIDE)
    return [*judge(page), *([f"{page.url} is {wide} px too wide"] if wide > 0 else [])]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_it_works(world: World, desk: Desk, window: Window) -> None:
    """She opens the address from her terminal, sees why, raises it from the keyboard, and her session goes on."""
    assert "envelope of run" in desk.message
    problems = []
    with portal(world, desk.name, desk.password, window, desk.address) as page:
        assert "Calls of this run are refused: a call may need" in page.inner_text("main")
        problems += seen(page, "run", window)
        Hands(page).press(page.locator("button", has_text="Raise it by"))
        page.get_by_text("The run goes on at once").wait_for()
        problems += seen(page, "run-raised", window)
    assert problems == []
    assert call(world, desk.member, "")[0] == 200


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_what_a_session_cost_is_found_as_a_tree(world: World, desk: Desk, window: Window) -> None:
    problems = []
    with portal(world, desk.name, desk.password, window, "/portal/") as page:
        Hands(page).follow(page.get_by_role("link", name="Sessions"))
        problems += seen(page, "sessions", window)
        Hands(page).follow(page.locator("section[aria-labelledby=sessions] a", has_text=SESSION[:20]))
        page.get_by_role("heading", name="Agents").wait_for()
        problems += seen(page, "session", window)
    with portal(world, desk.owner, desk.password, window, desk.address) as page:
        problems += seen(page, "run-owner", window)
    assert problems == []


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_an_operator_finds_the_same_tree(
    world: World, desk: Desk, operator_account: Operator, window: Window
) -> None:
    problems = []
    with visitor(world.stack.base_url, operator_account, window) as page:
        page.goto(f"/admin/billing/agenthour/?tenant={desk.member.slug}")
        problems += seen(page, "admin-sessions", window)
        page.locator("a", has_text=SESSION[:20]).first.click()
        page.get_by_text("All sessions").wait_for()
        problems += seen(page, "admin-session", window)
        page.goto("/admin/billing/runenvelope/")
        problems += seen(page, "admin-envelopes", window)
        page.locator("#result_list tbody a[href*='/change/']").first.click()
        problems += seen(page, "admin-envelope", window)
    assert problems == []
