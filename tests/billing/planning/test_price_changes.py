"""An operator sees the prices that change, and the money that they move."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from billing.models import PriceRow, UsageDaily
from billing.planning.price_changes import prices_ahead
from tenants.models import Tenant
from tests.billing.planning.days import AT, TODAY
from tests.billing.sums import sum_days
from tests.world import new_tenant

pytestmark = pytest.mark.django_db
YEAR = timedelta(days=366)


@pytest.fixture
def model() -> str:
    return f"gpt-{uuid4().hex[:8]}"


def price(model: str, usd: str, *, days: int, meter: str = "input", **values: object) -> PriceRow:
    row = {
        "provider": "openai",
        "model": model,
        "meter": meter,
        "source": "test",
        "valid_from": AT + timedelta(days=days),
    }
    return PriceRow.objects.create(unit_price=Decimal(usd), **row | values)  # fmt: skip


def use(tenant: Tenant, model: str, tokens: int, *, days_ago: int = 3) -> None:
    UsageDaily.objects.create(
        tenant=tenant, day=TODAY - timedelta(days=days_ago), provider="openai", model=model,
        processing="online", usage_source="provider", input_tokens=tokens, requests=1,
    )  # fmt: skip
    sum_days(tenant)


def test_it_works(tenant: Tenant, model: str) -> None:
    price(model, "2.5", days=-100, valid_to=AT + timedelta(days=20))
    price(model, "3", days=20)
    use(tenant, model, 4_000_000)
    use(tenant, model, 9_000_000, days_ago=40)  # too long ago
    (one,) = [row for row in prices_ahead([tenant.pk], at=AT, within=YEAR) if row.model == model]
    assert (one.old_price, one.unit_price, one.tokens) == (Decimal("2.5"), 3, 4_000_000)
    assert (one.usd, one.difference_usd) == (12, 2)


def test_what_sums_do_not_know_is_not_guessed(tenant: Tenant, model: str) -> None:
    price(model, "10", days=5, meter="web_search")
    price(model, "5", days=5, service_tier="priority")
    use(tenant, model, 1_000_000)
    found = [row for row in prices_ahead([tenant.pk], at=AT, within=YEAR) if row.model == model]
    assert [(row.tokens, row.usd, row.difference_usd) for row in found] == [(None, None, None)] * 2


def test_a_stranger_s_usage_is_not_in_it(tenant: Tenant, model: str) -> None:
    price(model, "3", days=20)
    use(new_tenant("stranger"), model, 4_000_000)
    (one,) = [row for row in prices_ahead([tenant.pk], at=AT, within=YEAR) if row.model == model]
    assert (one.tokens, one.usd, one.difference_usd) == (0, 0, None)


def test_a_stranger_s_contract_is_nobody_else_s(tenant: Tenant, model: str) -> None:
    stranger = new_tenant("stranger")
    price(model, "2", days=20, book="contract", tenant=stranger)
    assert [row for row in prices_ahead([tenant.pk], at=AT, within=YEAR) if row.model == model] == []
    (one,) = [row for row in prices_ahead([stranger.pk], at=AT, within=YEAR) if row.model == model]
    assert one.book == "contract"


def test_what_has_begun_or_stays_as_it_is_is_not_ahead(tenant: Tenant, model: str) -> None:
    price(model, "3", days=-1, valid_to=AT + timedelta(days=100))
    price(model, "3", days=100, valid_to=AT + timedelta(days=400))
    price(model, "4", days=400)
    price(model, "9", days=3, meter="output", superseded_at=AT)
    assert [row for row in prices_ahead([tenant.pk], at=AT, within=YEAR) if row.model == model] == []
    price(model, "5", days=2, meter="output")
    (one,) = [row for row in prices_ahead([tenant.pk], at=AT, within=YEAR) if row.model == model]
    assert (one.meter, one.unit_price) == ("output", 5)
