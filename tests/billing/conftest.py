"""Tenants with budgets for the tests of money, committed, so that other connections see them."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import uuid_utils

from billing.budgets.balances import Balance
from billing.budgets.windows import BudgetFacts, load_budgets, windows_for
from billing.ledger.holds import NewAttempt
from billing.ledger.settlements import CacheHit, Settlement
from billing.prices.book import Price, Rates, rates_of
from billing.prices.rating import rate
from billing.scopes import Dimensions
from tests.billing.shop import last_month, month_before, shop

__all__ = ["last_month", "month_before", "shop"]

RATES: Rates = rates_of(
    [Price("input", Decimal("1")), Price("cache_read", Decimal("0.1")), Price("output", Decimal("5"))],
    provider="openai",
    model="gpt-test",
)


def new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)


@dataclass
class Account:
    """A tenant with budgets, and what its calls look like."""

    tenant_id: int
    slug: str
    timezone: str
    budgets: tuple[BudgetFacts, ...] = field(default_factory=tuple)

    def attempt(self, *, usd: str = "0.01", tokens: int = 100, **options: Any) -> NewAttempt:
        at = options.pop("at", None) or datetime.now(UTC)
        user = options.pop("user", "alice")
        feature = options.pop("feature", "")
        dimensions = Dimensions(user=user, key="main", feature=feature, model="gpt-test", provider="openai")
        identity = options.pop("id", None) or new_id()
        return NewAttempt(
            id=identity,
            tenant_id=self.tenant_id,
            request_id=options.pop("request_id", identity),
            attempt_no=options.pop("attempt_no", 1),
            key_id=1,
            provider="openai",
            model="gpt-test",
            occurred_at=at,
            hold_usd=Decimal(usd),
            hold_tokens=tokens,
            windows=windows_for(self.budgets, dimensions, at=at, timezone=self.timezone),
            user=user,
            feature=feature,
            **options,
        )

    def settlement(
        self, attempt_id: UUID, *, read: int = 1000, written: int = 200, **options: Any
    ) -> Settlement:
        meters = {"input": read, "output": written}
        rated = options.pop("rated", None) or rate(meters, RATES)
        return Settlement(
            attempt_id=attempt_id,
            usage_source=options.pop("usage_source", "provider"),
            rated=rated,
            meters=meters,
            list_cost_usd=options.pop("list_cost_usd", rated.cost_usd),
            **options,
        )

    def hit(self, *, at: datetime | None = None) -> CacheHit:
        at = at or datetime.now(UTC)
        return CacheHit(
            request_id=new_id(),
            tenant_id=self.tenant_id,
            key_id=1,
            occurred_at=at,
            provider="openai",
            model="gpt-test",
            cache_state="exact",
            saving={"gateway_cache": Decimal("0.002")},
            input_tokens=1000,
            output_tokens=200,
            user="alice",
            windows=windows_for(self.budgets, Dimensions(user="alice"), at=at, timezone=self.timezone),
        )


def of_scope(balances: list[Balance], scope: str) -> Balance:
    return next(balance for balance in balances if balance.scope == scope)


@pytest.fixture
def make_account(committed: None) -> Callable[..., Account]:
    """Make a tenant with these budgets: `{scope, unit, period, limit, ...}` each."""

    def make(*budgets: dict[str, Any], timezone: str = "Europe/Berlin") -> Account:
        from billing.budgets.editing import set_budget
        from tenants.models import Tenant

        slug = f"money-{secrets.token_hex(4)}"
        tenant = Tenant.objects.create(slug=slug, name=slug, timezone=timezone)
        for budget in budgets:
            values = {"scope": "tenant", "unit": "usd", "period": "day", "alert_at": ()} | budget
            set_budget(tenant, limit_amount=Decimal(str(values.pop("limit"))), **values)
        return Account(tenant.pk, slug, timezone, load_budgets(tenant.pk))

    return make
