"""A tenant's page in a real browser, wide and narrow, light and dark: every tab can be used by everybody."""

from typing import Any

import pytest

from config.tenant_page.header import TABS
from tenants.models import Tenant
from tests.browser.test_pages_in_browser import filled
from tests.browser.visits import WINDOWS, Window, judge, keep_picture, needs_axe, needs_chromium, visitor
from tests.world import Operator, World

__all__ = ["filled"]
pytestmark = [*needs_chromium, needs_axe]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_it_works(world: World, filled: Tenant, operator_account: Operator, window: Window) -> None:
    from billing.ledger.rollups import rebuild_dirty

    rebuild_dirty()
    problems = tabs_of(world.stack.base_url, operator_account, window, filled.pk)
    assert problems == []


def tabs_of(base_url: str, operator: Operator, window: Window, tenant: Any) -> list[str]:
    problems: list[str] = []

    def look(page: Any, name: str) -> None:
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > window.width:
            problems.append(f"{name} is {width} px wide in a window of {window.width}")
        problems.extend(judge(page))
        keep_picture(page, f"{name}-{window}")

    with visitor(base_url, operator, window) as page:
        for name, _ in TABS:
            response = page.goto(f"/admin/tenants/tenant/{tenant}/{name}/")
            assert response.status == 200, name
            look(page, name)
        page.goto(f"/admin/tenants/tenant/{tenant}/policy/")
        page.locator("[name=compression__enabled]").check(force=True)
        page.get_by_role("button", name="Preview the change").first.click()
        page.get_by_text("Not saved yet").wait_for()
        look(page, "policy-preview")
        page.get_by_role("button", name="Save this policy").click()
        page.get_by_text("The policy is saved").wait_for()
        page.goto(f"/admin/tenants/tenant/{tenant}/budgets/")
        page.get_by_role("link", name="tenant", exact=True).click()
        page.locator("[name=limit_amount]").fill("0.000001")
        page.keyboard.press("Enter")
        page.get_by_text("Not saved yet").wait_for()
        page.get_by_text("It would have refused 1 of the calls").wait_for()
        look(page, "budget-preview")
        page.get_by_role("button", name="Save this budget").click()
        page.get_by_text("was changed successfully").first.wait_for()
    return problems
