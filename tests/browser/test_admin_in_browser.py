"""An operator's morning in a real browser: log in, look, raise a budget, take the month away."""

import csv
import os
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.ledger.rollups import rebuild_dirty
from billing.models import BudgetRaise
from billing.months.report import month_report
from tenants.models import Tenant
from tests.world import Operator, World

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@pytest.fixture
def acme(world: World, make_tenant: Any) -> Tenant:
    """A tenant with a budget and a few calls in its ledger."""
    member = make_tenant(
        "browsed", budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "5"}]
    )
    client = world.openai(member)
    for question in ("How do I top up my card?", "Where is my money?", "How do I top up my card?"):
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": question}], max_tokens=20, user="alice"
        )
    while rebuild_dirty():
        pass
    return Tenant.objects.get(pk=member.id)


def test_it_works(world: World, acme: Tenant, operator_account: Operator, tmp_path: Path) -> None:
    world.stack.start_celery()
    budget, month = acme.budgets.get(), f"{month_of(acme)}"
    problems = morning(world.stack.base_url, operator_account, acme, budget.pk, tmp_path)
    assert problems == []

    raised = BudgetRaise.objects.get(budget=budget)
    assert (raised.extra_amount, raised.reason, raised.approved_by.username) == (
        Decimal("2.5"),
        "Black Friday",
        operator_account.name,
    )

    report = month_report(acme, month=month)
    with (tmp_path / f"{acme.slug}-{month}.csv").open(newline="") as file:
        assert (
            sum(Decimal(row["billed_cost_usd"]) for row in csv.DictReader(file))
            == report.totals.billed_cost_usd
        )
    assert (tmp_path / f"{acme.slug}-{month}.xlsx").read_bytes()[:2] == b"PK"


def month_of(tenant: Tenant) -> str:
    return tenant.billing_periods.get().label


def morning(base_url: str, operator: Operator, acme: Tenant, budget_id: int, downloads: Path) -> list[str]:
    """Drive the browser; return what its console complained about. No ORM in here: Playwright owns the loop."""
    from playwright.sync_api import expect, sync_playwright

    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(90_000)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))

        page.goto(f"{base_url}/admin/")
        page.fill("[name=username]", operator.name)
        page.fill("[name=password]", operator.password)
        page.click("button[type=submit]")
        expect(page.get_by_role("heading", name="Home")).to_be_visible()
        expect(page.get_by_text("Spend by day, USD")).to_be_visible()
        expect(page.get_by_role("heading", name="From list price to what is paid")).to_be_visible()

        page.locator("#nav-sidebar a[href='/admin/billing/budget/']").click()
        page.fill("[name=q]", acme.slug)
        page.keyboard.press("Enter")
        page.wait_for_url("**q=*")
        expect(page.get_by_text("1 budget", exact=True)).to_be_visible()
        page.goto(f"{base_url}/admin/billing/budget/{budget_id}/change/")
        page.get_by_text("Raise until").click()
        page.fill("[name=extra_amount]", "2.5")
        page.fill("[name=ends_at]", "2099-01-01T10:00")
        page.fill("[name=reason]", "Black Friday")
        page.locator("#dialog button[type=submit]").click()
        expect(page.get_by_text("Raised: +2.5 USD until 2099-01-01 10:00 UTC.")).to_be_visible()

        page.goto(f"{base_url}/admin/billing/billingperiod/reports/?tenant={acme.slug}")
        expect(page.get_by_text("From list price to what is paid")).to_be_visible()
        for label, suffix in (("CSV, every detail", ".csv"), ("Excel workbook", ".xlsx")):
            page.select_option("[name=format]", label=label)
            page.get_by_role("button", name="Make files").click()
            link = page.locator(f"#month-files a[href*='/reports/file/']:text-matches('{suffix}$')").first
            link.wait_for(timeout=120_000)  # it comes by itself
            with page.expect_download() as waiting:
                link.click()
            waiting.value.save_as(downloads / waiting.value.suggested_filename)
        browser.close()
    return [problem for problem in problems if "favicon" not in problem]


def test_every_page_may_load_what_it_needs(world: World, acme: Tenant, operator_account: Operator) -> None:
    """The content security policy keeps strangers' files out, and none of ours."""
    assert round_of_pages(world.stack.base_url, operator_account, acme) == []


def round_of_pages(base_url: str, operator: Operator, acme: Tenant) -> list[str]:
    """Open every page of the sidebar, a form of each kind, and the reference; return what the console complained about."""
    from playwright.sync_api import expect, sync_playwright

    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(90_000)
        page.on(
            "console",
            lambda message: (
                problems.append(f"{page.url}: {message.text}") if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.goto(f"{base_url}/admin/")
        page.fill("[name=username]", operator.name)
        page.fill("[name=password]", operator.password)
        page.click("button[type=submit]")
        expect(page.get_by_role("heading", name="Home")).to_be_visible()
        links = page.locator("#nav-sidebar a[href^='/admin/']")
        paths = [links.nth(number).get_attribute("href") for number in range(links.count())]
        assert len(paths) > 30
        forms = [f"/admin/tenants/tenant/{acme.pk}/{form}/" for form in ("change", "history")]
        for path in [
            *dict.fromkeys(paths),
            "/admin/llm/languagemodel/add/",
            *forms,
            "/admin/password_change/",
        ]:
            page.goto(f"{base_url}{path}")
        page.goto(f"{base_url}/admin/billing/budget/add/")
        page.locator(".select2-selection").first.click()
        page.locator(".select2-search__field").fill(acme.slug)
        page.locator(".select2-results__option", has_text=acme.slug).click()
        expect(page.locator(".select2-selection__rendered").first).to_contain_text(acme.slug)
        page.goto(f"{base_url}/docs")
        expect(page.get_by_text("POST/v1/chat/completions").first).to_be_visible()
        browser.close()
    return [problem for problem in problems if "favicon" not in problem]
