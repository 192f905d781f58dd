"""Every page of the admin and the API's reference, in a wide and a narrow window, light and dark: axe-core finds nothing
serious, nothing is wider than its window, and lists stand in one line."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now
from openai import RateLimitError

from billing.models import Budget, RaiseRequest
from tenants.models import Tenant
from tests.browser.visits import (
    DESKTOP,
    OVERHANG,
    WINDOWS,
    Window,
    judge,
    needs_axe,
    needs_chromium,
    paths_of,
    visitor,
)
from tests.world import Operator, World

pytestmark = [*needs_chromium, needs_axe]
FURTHER = (
    "/admin/?period=month&by=user&top=key&compare=none",
    "/admin/password_change/",
    "/admin/no-such-page/",
    "/no-such-page",
    "/docs",
    *(f"/admin/planning/?tab={tab}" for tab in ("units", "ahead", "unused")),
)


@pytest.fixture
def filled(world: World, make_tenant: Any) -> Tenant:
    """A tenant with calls, one of them refused, and texts as long as they may be."""
    limits = [{"scope": "tenant", "unit": "usd", "period": "month", "limit": "5"}]
    member = make_tenant(
        "looked-at", budgets=[*limits, {"scope": "user", "unit": "usd", "period": "day", "limit": "0.00003"}]
    )
    client = world.openai(member)
    for question in ("How do I top up my card?", "Where is my money?"):
        with suppress(RateLimitError):  # the second is refused
            client.with_options(max_retries=0).chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": question}],
                max_tokens=20,
                user="alice",
            )
    tenant = Tenant.objects.get(pk=member.id)
    RaiseRequest.objects.create(
        tenant=tenant,
        budget=Budget.objects.filter(tenant=tenant).first(),
        extra_amount=1,
        ends_at=now() + timedelta(days=1),
        expires_at=now() + timedelta(hours=1),
        reason="because of the quarter's end " * 10,
        end_user="somebody-with-a-long-name-" * 7,
    )
    return tenant


def test_it_works(world: World) -> None:
    with visitor(world.stack.base_url, None) as page:
        page.goto("/admin/login/")
        assert judge(page) == []


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_every_page_can_be_used_by_everybody(
    world: World, filled: Tenant, operator_account: Operator, window: Window
) -> None:
    assert round_of(world.stack.base_url, operator_account, window) == []


def round_of(base_url: str, operator: Operator, window: Window) -> list[str]:
    problems: list[str] = []
    with visitor(base_url, operator, window) as page:
        paths = paths_of(page)
        assert len(paths) > 40
        for path in [*paths, *FURTHER]:
            response = page.goto(path)
            if path == "/docs":
                page.wait_for_selector(".opblock")
            if response.status >= 500:
                problems.append(f"{path}: {response.status}")
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > window.width:
                problems.append(f"{path} is {width} px wide in a window of {window.width}")
            if window is DESKTOP and path.count("/") == 4 and page.evaluate(OVERHANG) > 1:
                problems.append(f"{path} is a list that is wider than its frame")
            problems += judge(page)
    return problems
