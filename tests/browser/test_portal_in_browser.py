"""The portal in a real browser: every page for every role, and the journeys of a developer and an owner."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum
from django.utils.timezone import now
from openai import OpenAI, RateLimitError

from billing.admin.figures import usd
from billing.models import BillingPeriod, RaiseRequest, UsageRecord
from billing.months.closing import close_period
from billing.months.files import bytes_of
from llm.models import RequestLog
from tenants.models import ApiKey
from tests.books import eventually
from tests.browser.hands import Hands
from tests.browser.portal import Firm, firm
from tests.browser.visits import (
    IN_EACH,
    Window,
    judge,
    keep_picture,
    needs_axe,
    needs_chromium,
)

__all__ = ["firm"]
pytestmark = needs_chromium


@needs_axe
@IN_EACH
def test_it_works(firm: Firm, window: Window) -> None:
    """Every page of every role: nothing serious for axe, and nothing wider than its window."""
    problems: list[str] = []
    for name in ("alice", "bob", "fay"):
        with firm.visit(name, window) as page:
            paths = pages_of(page)
            assert len(paths) > 3
            for path in paths:
                response = page.goto(path)
                assert response.status == 200, path
                width = page.evaluate("document.documentElement.scrollWidth")
                if width > window.width:
                    problems.append(f"{path} is {width} px wide in a window of {window.width}")
                problems += judge(page)
                keep_picture(
                    page, f"{name}-{path.split('/', 4)[4].strip('/').replace('/', '-') or 'home'}-{window}"
                )
    assert problems == []


def pages_of(page: Any) -> list[str]:
    """Every page of the navigation, and the first of each kind that it leads to."""
    links = page.locator(".q-nav a")
    paths = [links.nth(number).get_attribute("href") for number in range(links.count())]
    found: dict[str, str] = {}
    for path in paths:
        page.goto(path)
        inner = page.locator("main a[href^='/portal/t/']:not([download])")
        for number in range(min(inner.count(), 40)):
            address = str(inner.nth(number).get_attribute("href"))
            kind = "".join(
                "#" if any(map(str.isdigit, part)) else part for part in address.split("?")[0].split("/")[4:]
            )
            found.setdefault(kind, address)
    return [*paths, *(path for path in found.values() if path not in paths)]


@IN_EACH
def test_the_first_key_and_the_first_call(firm: Firm, window: Window) -> None:
    """A developer makes a key with the keyboard alone, copies what the page says, and her SDK answers."""
    secret, base_url = first_key(firm, window)
    answer = OpenAI(base_url=base_url, api_key=secret, max_retries=0).chat.completions.create(
        model="gpt-4.1-nano", messages=[{"role": "user", "content": "Say hello."}], max_tokens=20
    )
    assert answer.choices[0].message.content
    entry = eventually(
        lambda: RequestLog.objects.filter(tenant=firm.member.id).order_by("-at").first(), until=first_call
    )
    assert entry is not None
    key = ApiKey.objects.get(pk=entry.key_id)
    assert (entry.user, key.name, key.user) == ("bob", "bob/laptop", "bob")


def first_key(firm: Firm, window: Window) -> tuple[str, str]:
    with firm.visit("bob", window) as page:
        Hands(page).press(page.locator(".q-nav").get_by_role("link", name="API keys"))
        Hands(page).press(page.get_by_role("link", name="New key of your own"))
        Hands(page).type(page.locator("[name=label]"), "laptop")
        page.keyboard.press("Enter")
        page.locator("#secret").wait_for()
        secret = str(page.locator("#secret").inner_text()).strip()
        lines = str(page.locator("#openai-python").inner_text())
        keep_picture(page, f"first-key-{window}")
        assert secret not in page.url
        page.goto(firm.at("keys/"))
        assert "bob/laptop" in page.inner_text("main")
        assert secret not in page.content()
    assert f'api_key="{secret}"' in lines
    base_url = re.search(r'base_url="([^"]+)"', lines)
    assert base_url is not None
    return secret, base_url[1]


def first_call(entry: RequestLog | None) -> bool:
    return entry is not None and entry.user == "bob" and entry.status == 200 and entry.model == "gpt-4.1-nano"


@IN_EACH
def test_what_was_spent_today(firm: Firm, window: Window) -> None:
    """The first page says what bob spent, to the digit of the ledger, and what is left of his budgets."""
    rows = UsageRecord.objects.filter(tenant=firm.member.id, user_id="bob")
    cost = rows.aggregate(cost=Sum("billed_cost"))["cost"]
    with firm.visit("bob", window) as page:
        cards = page.locator(".p-cards").inner_text()
        budgets = page.locator("main table").first.inner_text()
        keep_picture(page, f"spent-today-{window}")
    assert usd(cost) in cards
    assert "You, per day" in budgets
    assert "%" in budgets


@IN_EACH
def test_a_raise_is_asked_for_and_used(firm: Firm, window: Window) -> None:
    """A refused call leads to the wish for more, the owner grants it, and the same call passes."""
    call = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Tell me a long story."}],
        "max_tokens": 4000,
        "user": "bob",
    }
    client: Any = firm.world.openai(firm.member)
    with pytest.raises(RateLimitError) as refused:
        client.chat.completions.create(**call)
    request_id = refused.value.response.headers["x-request-id"]
    eventually(lambda: RequestLog.objects.filter(pk=request_id).exists())
    ask(firm, window, request_id)
    asked = RaiseRequest.objects.get(tenant=firm.member.id)
    assert request_id in asked.reason
    grant(firm, window)
    answer = eventually(lambda: attempt(client, call), until=lambda answer: answer is not None)
    assert answer.choices[0].message.content
    with firm.visit("bob", window) as page:
        page.goto(firm.at("budgets/"))
        said = page.inner_text("main")
        keep_picture(page, f"raised-{window}")
    assert "granted" in said


def attempt(client: Any, call: dict[str, Any]) -> Any:
    try:
        return client.chat.completions.create(**call)
    except RateLimitError:
        return None


def ask(firm: Firm, window: Window, request_id: str) -> None:
    with firm.visit("bob", window) as page:
        page.goto(firm.at(f"requests/?q={request_id}"))
        Hands(page).press(page.locator(f"main a[href*='{request_id}']"))
        page.get_by_role("heading", name="Why this was refused: budget exceeded").wait_for()
        keep_picture(page, f"refused-{window}")
        Hands(page).press(page.get_by_role("link", name="Ask for this raise"))
        Hands(page).reach(page.locator("[name=reason]"))
        page.keyboard.press("Enter")
        page.get_by_text("waiting for a decision").wait_for()


def grant(firm: Firm, window: Window) -> None:
    with firm.visit("alice", window) as page:
        Hands(page).press(page.locator(".q-nav").get_by_role("link", name="Budgets"))
        Hands(page).follow(page.locator("main a[href*='/raises/']"))
        keep_picture(page, f"decide-{window}")
        Hands(page).press(page.get_by_role("button", name="Grant it"))
        page.get_by_text("Granted: it counts from now on.").wait_for()


@IN_EACH
def test_an_owners_month(firm: Firm, window: Window) -> None:
    """What the firm spent, by whom, and the bill of a closed month with its file."""
    start = now().replace(year=2020, month=1, day=1)
    statement = close_period(
        BillingPeriod.objects.create(
            tenant=firm.tenant, label="2020-01", starts_at=start, ends_at=start + timedelta(days=31)
        )
    )
    file = statement.files.order_by("format").first()
    assert file is not None
    spend, sent = months_work(firm, window, statement.code, file.name)
    cost = UsageRecord.objects.filter(tenant=firm.member.id).aggregate(cost=Sum("billed_cost"))["cost"]
    assert usd(cost) in spend
    assert all(seen in spend for seen in ("alice", "bob", "gpt-4o-mini", "support"))
    assert sent == bytes_of(file)


def months_work(firm: Firm, window: Window, code: str, file: str) -> tuple[str, bytes]:
    with firm.visit("alice", window) as page:
        Hands(page).press(page.locator(".q-nav").get_by_role("link", name="Spend"))
        spend = page.inner_text("main")
        keep_picture(page, f"spend-{window}")
        Hands(page).press(page.locator(".q-nav").get_by_role("link", name="Months"))
        Hands(page).press(page.get_by_role("link", name=code))
        page.get_by_role("heading", name=f"Statement {code}").wait_for()
        with page.expect_download() as download:
            Hands(page).press(page.get_by_role("link", name=file))
        return str(spend), Path(download.value.path()).read_bytes()


@IN_EACH
def test_files_of_the_month_so_far_come_by_themselves(firm: Firm, window: Window) -> None:
    """Who asked for a file sees how far it is, and then the file, without a reload."""
    eventually(UsageRecord.objects.filter(tenant=firm.member.id).count)
    with firm.visit("fay", window) as page:
        Hands(page).press(page.locator(".q-nav").get_by_role("link", name="Months"))
        Hands(page).press(page.locator("main table a").first)
        Hands(page).press(page.get_by_role("button", name="Make CSV, every detail"))
        page.get_by_text("Being made:").wait_for()
        assert judge(page) == []
        keep_picture(page, f"file-on-its-way-{window}")
        firm.world.stack.start_celery()
        link = page.locator("#month-files a[download]")
        link.wait_for(timeout=120_000)
        page.locator("#month-files:not([data-refreshes])").wait_for()
        with page.expect_download() as download:
            Hands(page).press(link)
        assert "alice" in Path(download.value.path()).read_text()
