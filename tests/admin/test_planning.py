"""The pages of planning: what will be spent, what one costs, what changes, what nobody uses."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.models import PriceRow
from config.planning.page import TABS
from llm.models import LanguageModel, Provider
from tenants.models import Membership
from tests.admin.office import Office
from tests.admin.test_pages import query_count
from tests.billing.planning.days import spend
from tests.world import new_tenant

MOST_QUERIES = 14


def page(client: Client, tab: str, **query: str) -> str:
    response = client.get(reverse("planning"), {"tab": tab, **query})
    assert response.status_code == 200
    return response.content.decode()


def test_it_works(office: Office) -> None:
    client = office.client(office.olga)
    spend(office.acme, [10.0, 11.0, 9.0] * 30, until=now().date())
    shown = page(client, "budgets", tenant="acme")
    assert "90 % interval, from 90 days" in shown
    assert "Budgets against actual" in shown
    assert "user " in shown


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("tenant", ["", "acme"])
def test_every_tab_opens_with_bounded_queries(office: Office, tab: str, tenant: str) -> None:
    client = office.client(office.olga)
    assert query_count(client, f"{reverse('planning')}?tab={tab}&tenant={tenant}") <= MOST_QUERIES


def test_models_and_prices_ahead_have_their_money(office: Office) -> None:
    client, name = office.client(office.olga), f"gpt-{uuid4().hex[:8]}"
    provider = Provider.objects.create(
        name=f"p-{uuid4().hex[:8]}", kind="openai", base_url="https://example.com/v1"
    )
    LanguageModel.objects.create(
        name=name,
        provider=provider,
        upstream="gpt",
        context_window=1000,
        retires_on=now().date() + timedelta(days=40),
    )
    PriceRow.objects.create(
        provider=provider.name, model=name, meter="input", source="test", unit_price=Decimal("3.125"),
        valid_from=now() + timedelta(days=10),
    )  # fmt: skip
    shown = page(client, "ahead")
    assert "40 days" in shown
    assert f"{provider.name}/{name}" in shown
    assert "3.125" in shown


def test_a_tenant_s_owner_sees_only_that_tenant(office: Office) -> None:
    mia = User.objects.create(username=f"mia-{uuid4().hex[:8]}", is_staff=True)
    Membership.objects.create(user=mia, tenant=office.acme, role="owner")
    stranger = new_tenant("stranger")
    spend(stranger, [1000.0] * 60, until=now().date())
    client = office.client(mia)
    for tab in TABS:
        assert stranger.slug not in page(client, tab)
        assert stranger.slug not in page(client, tab, tenant=stranger.slug)
    assert "$0.00" in page(client, "budgets", tenant=stranger.slug)


def test_who_has_no_tenant_has_no_page(office: Office) -> None:
    nobody = User.objects.create(username=f"nobody-{uuid4().hex[:8]}", is_staff=True)
    assert office.client(nobody).get(reverse("planning")).status_code == 403
