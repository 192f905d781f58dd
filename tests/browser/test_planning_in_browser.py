"""The pages of planning in a real browser, wide and narrow, light and dark, empty and full."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.utils.timezone import now

from billing.models import ForecastTrial, PriceRow
from billing.models.planning import FeatureDay
from config.planning.page import TABS
from llm.models import LanguageModel, Provider
from tenants.models import EndUser, Tenant
from tests.billing.planning.days import spend, window
from tests.browser.visits import WINDOWS, Window, judge, keep_picture, needs_axe, needs_chromium, visitor
from tests.world import Operator, World, new_tenant

pytestmark = [*needs_chromium, needs_axe]


@pytest.fixture
def planned(world: World) -> Tenant:
    """A tenant with months of spending, budgets fast and slow, events, and a model that will be shut down."""
    tenant = new_tenant("planned", name="Planned for GmbH")
    today = now().astimezone(UTC).date()
    provider = Provider.objects.create(
        name=f"p-{uuid4().hex[:8]}", kind="openai", base_url="https://example.com/v1"
    )
    model = f"gpt-4o-mini-{uuid4().hex[:8]}"
    usage = {
        "provider": provider.name, "model": model, "feature": "invoices", "user_id": "alice",
        "processing": "online", "usage_source": "provider",
    }  # fmt: skip
    spend(tenant, [40.25, 43.5, 39.75, 44, 41, 6, 3] * 18, until=today, **usage)
    ForecastTrial.objects.create(
        tenant=tenant,
        measured_at=now(),
        looks=120,
        covered=109,
        below=6,
        above=5,
        error_percent=Decimal("4.2"),
    )
    month = datetime(today.year, today.month, 1, tzinfo=UTC)
    day = datetime(today.year, today.month, today.day, tzinfo=UTC)
    ends_at = (month + timedelta(days=32)).replace(day=1)
    month_before = (month - timedelta(days=1)).replace(day=1)
    two_before = (month_before - timedelta(days=1)).replace(day=1)
    window(tenant, limit=5000, spent="870.25", starts_at=month, ends_at=ends_at)
    window(tenant, limit=7, spent="6.75", starts_at=day, ends_at=day + timedelta(days=1), period="day")
    window(tenant, limit=5_000_000, spent=12_500, starts_at=month, ends_at=ends_at, scope="user",
           subject="somebody-with-a-long-name-" * 4, unit="tokens")  # fmt: skip
    large = window(tenant, limit=10_000, spent=700, starts_at=month, ends_at=ends_at, scope="feature",
                   subject="invoices").budget  # fmt: skip
    for starts_at, until in ((two_before, month_before), (month_before, month)):
        large.windows.create(
            tenant=tenant, subject="invoices", unit="usd", spent=650, starts_at=starts_at, ends_at=until
        )
    LanguageModel.objects.create(
        name=model, provider=provider, upstream="gpt", context_window=1000, fallbacks=["gpt-4o-mini"],
        retires_on=today + timedelta(days=40),
    )  # fmt: skip
    changes_at = now() + timedelta(days=12)
    for meter, before, after in (("input", "0.15", "0.18"), ("output", "0.6", "0.6125")):
        PriceRow.objects.create(
            provider=provider.name, model=model, meter=meter, source="test", unit_price=Decimal(before),
            valid_from=now() - timedelta(days=90), valid_to=changes_at,
        )  # fmt: skip
        PriceRow.objects.create(
            provider=provider.name, model=model, meter=meter, source="test", unit_price=Decimal(after),
            valid_from=changes_at,
        )  # fmt: skip
    FeatureDay.objects.create(
        tenant=tenant, day=today - timedelta(days=9), name="invoice_summarised", feature="invoices",
        events=412, quantity=1_733,
    )  # fmt: skip
    for name in ("carol", "dave"):
        EndUser.objects.create(tenant=tenant, external_id=name, display_name=name.title())
    return tenant


@pytest.mark.parametrize("look", WINDOWS, ids=str)
def test_it_works(world: World, planned: Tenant, operator_account: Operator, look: Window) -> None:
    empty = new_tenant("nothing-yet")
    assert tabs_of(world.stack.base_url, operator_account, look, (planned.slug, empty.slug, "")) == []


def tabs_of(base_url: str, operator: Operator, look: Window, tenants: tuple[str, ...]) -> list[str]:
    problems: list[str] = []
    with visitor(base_url, operator, look) as page:
        for tab in TABS:
            for tenant in tenants:
                response: Any = page.goto(f"/admin/planning/?tab={tab}&tenant={tenant}")
                assert response.status == 200, (tab, tenant)
                width = page.evaluate("document.documentElement.scrollWidth")
                if width > look.width:
                    problems.append(f"{tab} is {width} px wide in a window of {look.width}")
                problems += judge(page)
                keep_picture(page, f"{tab}-{tenant.partition('-')[0] or 'all'}-{look}")
    return problems
