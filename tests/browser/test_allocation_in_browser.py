"""A journey of finance in a real browser: shared cost is divided, its effect seen first, and the chargebacks taken."""

from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from billing.models import BillingPeriod, SplitRule, UsageRecord
from tenants.models import Tenant
from tests.books import eventually
from tests.browser.visits import DESKTOP, NARROW_DARK, Window, judge, keep_picture, needs_chromium, visitor
from tests.world import Member, Operator, World

pytestmark = needs_chromium


@pytest.mark.parametrize("window", [DESKTOP, NARROW_DARK], ids=str)
def test_it_works(world: World, make_tenant: Any, operator_account: Operator, window: Window) -> None:
    member: Member = make_tenant("shared")
    tenant = Tenant.objects.get(pk=member.id)
    client = world.openai(member)
    for user, tags in (("alice", ""), ("bob", "cost_center=4712"), ("bob", "cost_center=ops"), ("bob", "")):
        headers = {"x-purser-user": user} | ({"x-purser-tags": tags} if tags else {})
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": f"Who pays for {user} {tags}?"}],
            max_tokens=20,
            extra_headers=headers,
        )
    eventually(UsageRecord.objects.filter(tenant=tenant).count, until=lambda count: count == 4)
    month = BillingPeriod.objects.filter(tenant=tenant).latest("starts_at").label
    pages, sent = divide(world.stack.base_url, operator_account, window, tenant, month)
    rule = SplitRule.objects.get(tenant=tenant)
    assert rule.created_by is not None
    assert rule.created_by.username == operator_account.name
    assert rule.shares == [["4711", "25"], ["4712", "75"]]
    assert sent.startswith(b"%PDF")
    assert "platform" in pages


def divide(
    base_url: str, operator: Operator, window: Window, tenant: Tenant, month: str
) -> tuple[str, bytes]:
    """Set a rule after its preview, and take a file: what was on the pages, and the file."""
    with visitor(base_url, operator, window) as page:
        page.goto(f"/admin/billing/splitrule/add/?tenant={tenant.pk}")
        for name, text in (("name", "platform"), ("value", "ops"), ("first_month", f"{now():%Y-%m}")):
            page.fill(f"[name={name}]", text)
        page.select_option("[name=source]", "cost_center")
        page.select_option("[name=method]", "fixed")
        page.fill("[name=shares]", "4711 25\n4712 75")
        assert judge(page) == []
        page.locator("[name=_save]").click()
        page.get_by_text("Not saved yet").wait_for()
        page.get_by_text("4712").first.wait_for()
        assert judge(page) == []
        keep_picture(page, f"split-preview-{window}")
        page.get_by_role("button", name="Set this rule").click()
        page.wait_for_url("**/admin/billing/splitrule/")
        assert judge(page) == []
        page.goto(f"/admin/billing/splitrule/chargebacks/?tenant={tenant.slug}&month={month}")
        page.get_by_text("The month is not closed").wait_for()
        assert judge(page) == []
        keep_picture(page, f"chargebacks-{window}")
        with page.expect_download() as download:
            page.locator("a[href*='format=pdf'][href*='cost_center=4712']").first.click()
        seen = str(page.inner_text("body"))
        page.goto(f"/admin/billing/splitrule/?tenant__id__exact={tenant.pk}")
        page.locator("#result_list tbody a[href*='/change/']").first.click()
        page.get_by_text("4711 25 %, 4712 75 %").first.wait_for()
        assert judge(page) == []
        seen += str(page.inner_text("body"))
        return seen, Path(download.value.path()).read_bytes()
