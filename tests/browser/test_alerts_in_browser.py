"""Acknowledge an alert: from the home page to the alert, the receipt of the worst request, and back to take care of it. In a
wide and a narrow window, and by keyboard only; and axe-core finds nothing serious on the pages of alerts."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.visits import (
    DESKTOP,
    NARROW_DARK,
    WINDOWS,
    Window,
    judge,
    keep_picture,
    needs_axe,
    needs_chromium,
    visitor,
)
from tests.world import Member, Operator, World

pytestmark = [*needs_chromium, needs_axe]
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def alarmed(world: World, make_tenant: Any) -> Iterator[Member]:
    """A tenant whose requests cost more than its rule allows, counted in one alert, with a channel."""
    from django.utils.timezone import now

    from billing.alerts.findings import count_findings
    from billing.models import AlertChannel, AlertEvent, AlertRule

    member = make_tenant(
        f"alarmed-{secrets.token_hex(3)}", policy={"cache": {"exact": False, "semantic": "off"}}
    )
    channel = AlertChannel.objects.create(
        tenant_id=member.id, name="desk", kind="email", target="desk@example.com"
    )
    rule = AlertRule.objects.create(tenant_id=member.id, metric="request_cost", threshold="0.000001")
    rule.channels.add(channel)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}
    for _ in range(3):
        assert world.request("POST", "/v1/chat/completions", body, member=member)[0] == 200
    count_findings()
    yield member
    AlertEvent.objects.filter(tenant_id=member.id).update(resolved_at=now())


def seen(page: Any, name: str, window: Window) -> list[str]:
    keep_picture(page, f"alerts-{name}-{window}")
    wide = page.evaluate(TOO_WIDE)
    return [*judge(page), *([f"{page.url} is {wide} px too wide"] if wide > 0 else [])]


@pytest.mark.parametrize("window", [DESKTOP, NARROW_DARK], ids=str)
def test_it_works(world: World, alarmed: Member, operator_account: Operator, window: Window) -> None:
    with visitor(world.stack.base_url, operator_account, window) as page:
        page.goto(f"/admin/?tenant={alarmed.slug}")
        page.locator("a[href*='/billing/alertevent/']", has_text="A request to gpt-4o cost").first.click()
        problems = seen(page, "incident", window)
        assert "One request costs more than 0.000001 USD." in page.inner_text("main, #content, body")
        alert = page.url
        page.locator("a[href*='/llm/requestlog/'][href*='/change/']").first.click()
        page.get_by_text("gpt-4o").first.wait_for()
        problems += seen(page, "receipt", window)
        page.goto(alert)
        pressed(page, "acknowledge", "Acknowledged.")
        problems += seen(page, "acknowledged", window)
        pressed(page, "mute", "Muted until")
        problems += seen(page, "muted", window)
        page.goto(f"/admin/?tenant={alarmed.slug}")
        assert page.locator("a", has_text="A request to gpt-4o cost").count() == 0
    assert problems == []
    assert state_of(alarmed) == ("muted", operator_account.name)


def test_it_works_without_a_mouse(world: World, alarmed: Member, operator_account: Operator) -> None:
    with visitor(world.stack.base_url, operator_account, DESKTOP) as page:
        page.goto(f"/admin/?tenant={alarmed.slug}")
        entered(page, "a[href*='/billing/alertevent/']:has-text('A request to gpt-4o cost')")
        page.wait_for_url("**/alertevent/*/change/**")
        alert = page.url
        entered(page, "a[href*='/llm/requestlog/'][href*='/change/']")
        page.wait_for_url("**/requestlog/*/change/**")
        page.goto(alert)
        pressed(page, "acknowledge", "Acknowledged.", by_keyboard=True)
        pressed(page, "mute", "Muted until", by_keyboard=True)
    assert state_of(alarmed) == ("muted", operator_account.name)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_nobody_is_shut_out_of_the_pages_of_alerts(
    world: World, alarmed: Member, operator_account: Operator, window: Window
) -> None:
    from billing.models import AlertChannel, AlertRule

    rule = AlertRule.objects.get(tenant_id=alarmed.id)
    channel = AlertChannel.objects.get(tenant_id=alarmed.id)
    paths = {
        "list": f"/admin/billing/alertevent/?tenant__id__exact={alarmed.id}&state=open",
        "rules": "/admin/billing/alertrule/",
        "rule": f"/admin/billing/alertrule/{rule.pk}/change/",
        "new-rule": f"/admin/billing/alertrule/add/?tenant={alarmed.id}",
        "channel": f"/admin/billing/alertchannel/{channel.pk}/change/",
        "deliveries": "/admin/billing/alertdelivery/",
        "tenant": f"/admin/tenants/tenant/{alarmed.id}/overview/",
    }
    problems = []
    with visitor(world.stack.base_url, operator_account, window) as page:
        for name, path in paths.items():
            answer = page.goto(path)
            problems += [f"{path}: {answer.status}"] if answer.status != 200 else []
            problems += seen(page, name, window)
    assert problems == []


def pressed(page: Any, verb: str, answer: str, *, by_keyboard: bool = False) -> None:
    """The verb's button and that of the dialog it opens."""
    menu = page.get_by_text("more_horiz", exact=True)
    if menu.count() and menu.first.is_visible():  # a narrow window has the verbs behind it
        menu.first.click()
    press(page, f"a[hx-get*='/{verb}']", by_keyboard=by_keyboard)
    with page.expect_navigation():  # the dialog may have the words of the answer
        press(page, "#dialog button[type=submit]", by_keyboard=by_keyboard)
    page.get_by_text(answer).first.wait_for()


def press(page: Any, selector: str, *, by_keyboard: bool) -> None:
    button = page.locator(selector).locator("visible=true").first
    button.wait_for()
    if by_keyboard:
        button.focus()
        page.keyboard.press("Enter")
    else:
        button.click()


def entered(page: Any, selector: str) -> None:
    page.locator(selector).first.focus()
    page.keyboard.press("Enter")


def state_of(member: Member) -> tuple[str, str]:
    from billing.models import AlertEvent

    event = AlertEvent.objects.get(tenant_id=member.id, metric="request_cost")
    return event.state, str(event.acknowledged_by)
