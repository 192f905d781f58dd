"""Journeys of an operator in a real browser, by keyboard alone, wide and narrow, light and dark: each ends where its question is
answered."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from billing.models import Budget, BudgetRaise
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, Tenant
from tests.books import eventually
from tests.browser.hands import Hands
from tests.browser.visits import IN_EACH, Window, needs_chromium, visitor
from tests.world import Operator, World

pytestmark = needs_chromium


@IN_EACH
def test_it_works(world: World, committed: None, operator_account: Operator, window: Window) -> None:
    """A new tenant with its key and its budget: one form, from the keyboard alone."""
    slug = f"opened-{uuid4().hex[:8]}"
    secret = open_tenant(world.stack.base_url, operator_account, window, slug)
    tenant = Tenant.objects.get(slug=slug)
    assert secret.startswith(f"psr_{ApiKey.objects.get(tenant=tenant).public_id}_")
    assert Budget.objects.get(tenant=tenant).limit_amount == Decimal(250)


def open_tenant(base_url: str, operator: Operator, window: Window, slug: str) -> str:
    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open("/admin/tenants/tenant/add/")
        hands.type(page.locator("[name=name]"), "Opened Ltd")
        hands.type(page.locator("[name=slug]"), slug)
        page.keyboard.press("Enter")
        page.get_by_text("say that there is no limit").wait_for()
        hands.type(page.locator("[name=monthly_budget_usd]"), "250")
        page.keyboard.press("Enter")
        secret = page.locator("#secret")
        secret.wait_for()
        return str(secret.inner_text()).strip()


@IN_EACH
def test_why_it_was_refused_and_the_raise_that_lets_it_through(
    world: World, make_tenant: Any, operator_account: Operator, window: Window
) -> None:
    budget = {"scope": "user", "value": "bob", "unit": "usd", "period": "day", "limit": "0.0000001"}
    member = make_tenant("refused", budgets=[budget])
    asked = world.openai(member).with_options(max_retries=0).chat.completions.with_raw_response
    with pytest.raises(Exception, match="budget") as refusal:
        asked.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Why?"}], max_tokens=20, user="bob"
        )
    request_id = refusal.value.response.headers["x-request-id"]  # type: ignore[attr-defined]
    from llm.models import RequestLog

    eventually(lambda: RequestLog.objects.filter(pk=request_id).exists(), until=bool)
    raise_it(world.stack.base_url, operator_account, window, request_id)
    raised = BudgetRaise.objects.get(budget__tenant=member.id)
    assert str(request_id) in raised.reason
    assert raised.approved_by.username == operator_account.name


def raise_it(base_url: str, operator: Operator, window: Window, request_id: str) -> None:
    from playwright.sync_api import expect

    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open("/admin/llm/requestlog/")
        hands.type(page.locator(".p-filters [name=q]"), request_id)
        page.keyboard.press("Enter")
        page.wait_for_url("**q=*")
        hands.press(page.locator("#result_list tbody a[href*='/change/']"))
        expect(page.get_by_role("heading", name="Why this was refused: budget exceeded")).to_be_visible()
        expect(page.get_by_text("What would let it through")).to_be_visible()
        hands.press(page.get_by_role("link", name="Raise this budget…"))
        hands.confirm()
        expect(page.get_by_text("Raised: +")).to_be_visible()
        expect(page.get_by_text("running").first).to_be_visible()


@IN_EACH
def test_a_leaked_key_is_locked(
    world: World, make_tenant: Any, operator_account: Operator, window: Window
) -> None:
    """It is pasted into the search of requests, of all places: it stands in no address on the way."""
    member = make_tenant("leaky")
    key, secret = issue_key(Tenant.objects.get(pk=member.id), name="leaked")
    addresses = lock(world.stack.base_url, operator_account, window, secret)
    assert [address for address in addresses if secret[:24] in address] == []
    key.refresh_from_db()
    assert key.revoked_at is not None


def lock(base_url: str, operator: Operator, window: Window, secret: str) -> list[str]:
    addresses: list[str] = []
    with visitor(base_url, operator, window) as page:
        page.on("request", lambda request: addresses.append(request.url))
        hands = Hands(page)
        hands.open("/admin/llm/requestlog/")
        hands.type(page.locator(".p-filters [name=q]"), secret)
        page.keyboard.press("Enter")
        page.get_by_text("This is its present secret").wait_for()
        hands.verb("revoke")
        hands.confirm()
        page.get_by_text("is revoked").wait_for()
    return addresses


@IN_EACH
def test_a_budget_is_raised_until_a_day(
    world: World, make_tenant: Any, operator_account: Operator, window: Window
) -> None:
    """From the list of budgets: found by its tenant, raised, and the raise is seen on the budget."""
    budget = {"scope": "tenant", "unit": "usd", "period": "month", "limit": "5"}
    member = make_tenant("busy", budgets=[budget])
    raise_until(world.stack.base_url, operator_account, window, member.slug)
    raised = BudgetRaise.objects.get(budget__tenant=member.id)
    assert (raised.extra_amount, raised.reason) == (Decimal("2.5"), "Black Friday")
    assert raised.approved_by is not None
    assert raised.approved_by.username == operator_account.name
    assert raised.ends_at == datetime(2099, 1, 1, 10, tzinfo=UTC)


def raise_until(base_url: str, operator: Operator, window: Window, slug: str) -> None:
    from playwright.sync_api import expect

    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open("/admin/billing/budget/")
        hands.type(page.locator("[name=q]"), slug)
        page.keyboard.press("Enter")
        page.wait_for_url("**q=*")
        hands.press(page.locator("#result_list tbody a[href*='/change/']"))
        hands.verb("raise_until")
        hands.type(page.locator("#dialog [name=extra_amount]"), "2.5")
        hands.moment(page.locator("#dialog [name=ends_at]"), day="01012099", time="1000AM")
        hands.type(page.locator("#dialog [name=reason]"), "Black Friday")
        hands.confirm()
        expect(page.get_by_text("Raised: +2.5 USD until 2099-01-01 10:00 UTC.")).to_be_visible()
