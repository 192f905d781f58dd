"""Home in a real browser, by keyboard alone, wide and narrow, light and dark: what needs somebody is done there, and figures lead
to requests."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils.timezone import now

from billing.ledger.rollups import rebuild_dirty
from billing.models import Budget, BudgetRaise, RaiseRequest
from llm.models import RequestLog, SavedView
from llm.request_days import add_tallies
from tests.books import eventually
from tests.browser.hands import Hands
from tests.browser.visits import IN_EACH, Window, needs_chromium, visitor
from tests.world import Operator, World

pytestmark = needs_chromium


@IN_EACH
def test_it_works(world: World, make_tenant: Any, operator_account: Operator, window: Window) -> None:
    """A raise that somebody asked for is granted on the home page, from the keyboard alone."""
    member = make_tenant(
        "asks", budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "10"}]
    )
    RaiseRequest.objects.create(
        tenant_id=member.id,
        budget=Budget.objects.get(tenant=member.id),
        extra_amount=Decimal("2.5"),
        ends_at=now() + timedelta(days=3),
        expires_at=now() + timedelta(days=1),
        reason="Black Friday",
        end_user="bob",
    )
    grant(world.stack.base_url, operator_account, window, member.slug)
    raised = BudgetRaise.objects.get(budget__tenant=member.id)
    assert (raised.extra_amount, raised.approved_by.username) == (Decimal("2.5"), operator_account.name)


def grant(base_url: str, operator: Operator, window: Window, slug: str) -> None:
    from playwright.sync_api import expect

    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open(f"/admin/?tenant={slug}&period=7d")
        approve = page.locator("a[hx-get*='/raiserequest/']", has_text="Approve")  # prices may be proposed
        hands.press(approve)
        expect(page.get_by_role("dialog")).to_contain_text("Grant this raise?")
        hands.confirm()
        page.get_by_text("Granted: +2.5").wait_for()
        assert f"tenant={slug}" in page.url  # where it was done
        assert "period=7d" in page.url
        expect(approve).to_have_count(0)


@IN_EACH
def test_a_refused_call_is_a_click_away_and_the_search_is_kept(
    world: World, make_tenant: Any, operator_account: Operator, window: Window
) -> None:
    member = make_tenant("counted", budgets=[])
    for model in ("gpt-4o-mini", "no-such-model"):
        world.request(
            "POST", "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "Hi"}]},
            member=member,
        )  # fmt: skip
    eventually(lambda: RequestLog.objects.filter(tenant_id=member.id).count(), until=lambda count: count == 2)
    while add_tallies() or rebuild_dirty():
        pass
    follow(world.stack.base_url, operator_account, window, member.slug)
    view = SavedView.objects.get(user__username=operator_account.name)
    assert f"tenant={member.slug}" in view.query
    assert "outcome=refused" in view.query


def follow(base_url: str, operator: Operator, window: Window, slug: str) -> None:
    from playwright.sync_api import expect

    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open(f"/admin/?tenant={slug}")
        hands.choose(page.locator("[name=period]"), "today")
        hands.press(page.get_by_role("button", name="Show"))
        page.wait_for_url("**period=today*")
        expect(page.locator(".p-cards")).to_contain_text("50.0 %")  # one of two was refused
        hands.follow(page.get_by_role("link", name="Refused", exact=True))
        expect(page.locator("#result_list tbody tr")).to_have_count(1)
        expect(page.locator("#result_list")).to_contain_text("model_not_found")
        hands.press(page.get_by_text("Own views"))
        hands.type(page.get_by_label("Name of the view"), "Refused here")
        hands.press(page.get_by_role("button", name="Keep it"))
        expect(page.get_by_role("link", name="Refused here")).to_have_attribute("aria-current", "page")
