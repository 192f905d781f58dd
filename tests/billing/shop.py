"""A tenant with prices of its own and the books of a month that has ended.

Invariant: every row goes through the SQL functions of the ledger, so what is closed is what the product writes.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import uuid_utils
from django.db import connection, connections
from django.utils.timezone import now

from billing.ledger.periods import period_at
from billing.ledger.settlements import (
    RECORD_HITS,
    SETTLE,
    CacheHit,
    Settlement,
    hit_values,
    settle_parameters,
)
from billing.models import Attempt, BillingPeriod, PriceRow, Statement, UsageLine, UsageRecord
from billing.months.closing import close_period
from billing.prices.book import load_price_book
from billing.prices.rating import rate
from billing.prices.savings import waterfall
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, Tenant

INPUT, OUTPUT = Decimal("2.5"), Decimal("10")


@dataclass
class Shop:
    """A tenant, its key, a model only it uses, and the verbs that write its ledger."""

    tenant: Tenant
    key: ApiKey
    provider: str = "openai"
    model: str = field(default_factory=lambda: f"gpt-{secrets.token_hex(4)}")

    def price(self, meter: str, unit_price: Decimal | str, **row: Any) -> PriceRow:
        """A price of the model, since long ago."""
        values = {"valid_from": datetime(2020, 1, 1, tzinfo=UTC), "source": "test"} | row
        return PriceRow.objects.create(
            provider=self.provider, model=self.model, meter=meter, unit_price=Decimal(unit_price), **values
        )

    def call(
        self,
        at: datetime,
        meters: dict[str, int] | None = None,
        *,
        user: str = "alice",
        cost_center: str = "4711",
        processing: str = "online",
        usage_source: str = "provider",
        removed_input_tokens: int = 0,
        windows: tuple[int, ...] = (),
        attempt_id: UUID | None = None,
        request_id: UUID | None = None,
        attempt_no: int = 1,
        cache_state: str = "miss",
    ) -> UUID:
        """One call, admitted and settled; the id of its ledger row."""
        meters = {"input": 1000, "output": 500} if meters is None else meters
        book = load_price_book(self.tenant.pk)
        rates = book.rates(self.provider, self.model, at=at, processing=processing)
        online = book.rates(self.provider, self.model, at=at)
        rated = rate(meters, rates)
        steps = waterfall(meters, paid=rates, online=online, removed_input_tokens=removed_input_tokens)
        attempt_id = attempt_id or self.open_attempt(
            at,
            user=user,
            cost_center=cost_center,
            hold=rated.cost_usd,
            processing=processing,
            windows=windows,
            request_id=request_id,
            attempt_no=attempt_no,
            cache_state=cache_state,
        )
        self.settle(
            Settlement(
                attempt_id=attempt_id,
                usage_source=usage_source,
                rated=rated,
                meters=meters,
                list_cost_usd=steps.list_cost_usd,
                saving=steps.steps,
                raw_usage={"prompt_tokens": 1},
                processing=processing,
            )
        )
        return attempt_id

    def open_attempt(
        self,
        at: datetime,
        *,
        user: str = "alice",
        cost_center: str = "4711",
        hold: Decimal = Decimal(1),
        processing: str = "online",
        windows: tuple[int, ...] = (),
        request_id: UUID | None = None,
        attempt_no: int = 1,
        cache_state: str = "miss",
    ) -> UUID:
        """A call that went out and has not ended."""
        return Attempt.objects.create(
            id=UUID(bytes=uuid_utils.uuid7().bytes),
            tenant=self.tenant,
            request_id=request_id or uuid4(),
            attempt_no=attempt_no,
            key_id=self.key.pk,
            user=user,
            provider=self.provider,
            model=self.model,
            processing=processing,
            occurred_at=at,
            hold_usd=hold,
            hold_tokens=0,
            window_ids=list(windows),
            hold_amounts=[Decimal(0)] * len(windows),
            state=Attempt.State.SENT,
            sent_at=at,
            expires_at=at + timedelta(days=400),
            dims={"cost_center": cost_center, "cache_state": cache_state},
        ).pk

    def settle(self, settlement: Settlement) -> None:
        with connection.cursor() as cursor:
            cursor.execute(SETTLE, settle_parameters([settlement]))

    def hit(self, at: datetime, worth: str = "0.0075") -> None:
        """An answer from the cache."""
        hit = CacheHit(
            request_id=uuid4(),
            tenant_id=self.tenant.pk,
            key_id=self.key.pk,
            occurred_at=at,
            provider=self.provider,
            model=self.model,
            cache_state="exact",
            saving={"gateway_cache": Decimal(worth)},
            input_tokens=100,
            output_tokens=50,
            user="alice",
        )
        with connection.cursor() as cursor:
            cursor.execute(RECORD_HITS, (orjson.dumps([hit_values(hit)], default=str).decode(), "{}"))

    def period(self, at: datetime) -> BillingPeriod:
        return period_at(self.tenant, at=at)

    def close(self, at: datetime, **options: Any) -> Statement:
        return close_period(self.period(at), **{"grace": timedelta(0)} | options)

    def rows(self, **where: Any) -> list[UsageRecord]:
        return list(UsageRecord.objects.filter(tenant=self.tenant, **where).order_by("recorded_at"))

    def lines(self, record_id: UUID) -> list[UsageLine]:
        return list(UsageLine.objects.filter(record_id=record_id).order_by("line_no"))

    def ledger_sum(self, where: str = "true", *arguments: Any) -> Decimal:
        """The ledger's own sum, asked of PostgreSQL without any of our code."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT coalesce(sum(billed_cost), 0) FROM billing_usagerecord WHERE tenant_id = %s AND {where}",
                (self.tenant.pk, *arguments),
            )
            return cursor.fetchone()[0]


def month_ago(count: int = 1) -> datetime:
    """Noon of the tenth of a month that has ended, in UTC."""
    first = now().astimezone(UTC).replace(day=1, hour=12, minute=0, second=0, microsecond=0)
    for _ in range(count):
        first = (first - timedelta(days=1)).replace(day=1)
    return first.replace(day=10)


@pytest.fixture
def last_month() -> datetime:
    return month_ago()


@pytest.fixture
def month_before() -> datetime:
    return month_ago(2)


def open_shop() -> Shop:
    slug = f"closing-{secrets.token_hex(4)}"
    tenant = Tenant.objects.create(slug=slug, name=f"=Closing & Söhne {slug}", timezone="UTC")
    key, _ = issue_key(tenant, name="main")
    shop = Shop(tenant, key)
    shop.price("input", INPUT)
    shop.price("output", OUTPUT)
    return shop


@pytest.fixture
def shop(committed: None) -> Iterator[Shop]:
    """A tenant of the test's own, in the committed database."""
    yield open_shop()
    connections.close_all()
