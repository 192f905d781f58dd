"""A month of real ledger rows: calls admitted and settled, cache hits, an estimate, a batch line, a credit.

Invariant: every row goes through billing's own functions (the credit, which has none yet, through SQL), so a
report is tested on what the product writes.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import uuid_utils
from asgiref.sync import sync_to_async
from django.db import connection, connections

from billing.ledger import holds, settlements
from billing.ledger.settlements import CacheHit, Settlement
from billing.models import RollupDirty
from billing.prices.book import Price, PriceBook
from billing.prices.rating import rate
from billing.prices.savings import waterfall
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, EndUser, Tenant

PRICES = PriceBook(
    {
        ("openai", "gpt-4o"): (
            Price("input", Decimal("2.5")),
            Price("cache_read", Decimal("1.25")),
            Price("output", Decimal("10")),
            Price("input", Decimal("1.25"), processing="batch"),
            Price("output", Decimal("5"), processing="batch"),
        ),
        # prices with more digits than a float keeps
        ("anthropic", "claude-haiku-4-5"): (
            Price("input", Decimal("0.333333333")),
            Price("cache_read", Decimal("0.033333333")),
            Price("cache_write_5m", Decimal("0.416666667")),
            Price("output", Decimal("1.666666667")),
        ),
    }
)


@dataclass
class Books:
    """A tenant of its own, and the verbs that write its ledger."""

    tenant: Tenant
    key: ApiKey
    other_key: ApiKey

    async def call(
        self,
        model: tuple[str, str],
        meters: dict[str, int],
        *,
        at: datetime,
        user: str = "alice",
        feature: str = "chat",
        cost_center: str = "4711",
        key: ApiKey | None = None,
        processing: str = "online",
        asked: tuple[str, str] | None = None,
        usage_source: str = "provider",
        tags: dict[str, str] | None = None,
    ) -> Decimal:
        """One call from hold to ledger; what it cost."""
        rates = PRICES.rates(*model, at=at, processing=processing)
        rated = rate(meters, rates)
        steps = waterfall(
            meters,
            paid=rates,
            online=PRICES.rates(*model, at=at),
            asked=PRICES.rates(*asked, at=at) if asked else None,
        )
        attempt_id = UUID(bytes=uuid_utils.uuid7().bytes)
        await holds.admit(
            holds.NewAttempt(
                id=attempt_id,
                tenant_id=self.tenant.pk,
                request_id=uuid4(),
                attempt_no=1,
                key_id=(key or self.key).pk,
                provider=model[0],
                model=model[1],
                occurred_at=at,
                hold_usd=rated.cost_usd,
                hold_tokens=sum(meters.values()),
                windows=(),
                user=user,
                feature=feature,
                processing=processing,
                dims={
                    "cost_center": cost_center,
                    "project": "helpdesk",
                    "tags": tags or {},
                    "endpoint": "chat",
                },
            )
        )
        await settlements.settle(
            Settlement(
                attempt_id=attempt_id,
                usage_source=usage_source,
                rated=rated,
                meters=meters,
                list_cost_usd=steps.list_cost_usd,
                saving=steps.steps,
                raw_usage={"prompt_tokens": sum(meters.values())},
                upstream_id="chatcmpl-1",
            )
        )
        return rated.cost_usd

    async def hit(self, model: tuple[str, str], worth: str, *, at: datetime, user: str = "alice") -> None:
        """An answer from the cache."""
        await settlements.record_hit(
            CacheHit(
                request_id=uuid4(),
                tenant_id=self.tenant.pk,
                key_id=self.key.pk,
                occurred_at=at,
                provider=model[0],
                model=model[1],
                cache_state="semantic",
                saving={"gateway_cache": Decimal(worth)},
                input_tokens=100,
                output_tokens=50,
                user=user,
                feature="chat",
                dims={"cost_center": "4711"},
            )
        )

    def credit(self, amount: str, *, month: str, at: datetime) -> None:
        """Goodwill: a row without a call and without meters."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO billing_usagerecord (id, occurred_at, tenant_id, period_id, kind, usage_source, reason,
                    list_cost, provider_cost, contracted_cost, billed_cost)
                SELECT %s, %s, %s, id, 'credit', 'manual', 'goodwill', %s, 0, %s, %s
                FROM billing_billingperiod WHERE tenant_id = %s AND label = %s
                """,
                (uuid4(), at, self.tenant.pk, amount, amount, amount, self.tenant.pk, month),
            )
        RollupDirty.objects.create(tenant=self.tenant, day=at.date())

    def ledger_sum(self, column: str = "billed_cost", **where: Any) -> Decimal:
        """The ledger's own sum, asked of PostgreSQL without any of our code."""
        conditions = "".join(f" AND {name} = %s" for name in where)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT coalesce(sum({column}), 0) FROM billing_usagerecord WHERE tenant_id = %s{conditions}",
                (self.tenant.pk, *where.values()),
            )
            return cursor.fetchone()[0]


GPT, HAIKU = ("openai", "gpt-4o"), ("anthropic", "claude-haiku-4-5")


@pytest.fixture
async def books(loop_resources: None) -> AsyncIterator[Books]:
    """A tenant in Berlin with November's rows."""
    made = await sync_to_async(_tenant)()

    def at(day: int, hour: int = 12) -> datetime:
        return datetime(2026, 11, day, hour, 30, tzinfo=UTC)

    for number in range(12):
        await made.call(
            GPT,
            {"input": 1_000 + 7 * number, "cache_read": 311 * number, "output": 333 + number},
            at=at(3 + number % 5),
            user=("alice", "bob", "")[number % 3],
            feature=("chat", "search")[number % 2],
            cost_center=("4711", "")[number % 2],
            key=made.other_key if number % 4 == 0 else None,
            tags={"team": "red"} if number % 5 == 0 else None,
        )
        await made.call(
            HAIKU,
            {"input": 17 + number, "cache_write_5m": 13, "cache_read": 3 * number, "output": 7 + number},
            at=at(10 + number % 2),
            asked=GPT if number % 2 else None,
            usage_source="estimated" if number == 7 else "provider",
        )
    await made.call(GPT, {"input": 5_000, "output": 700}, at=at(12), processing="batch")
    for number in range(4):
        await made.hit(GPT, "0.012345678912", at=at(13), user=("alice", "bob")[number % 2])
    # 23:30 UTC on the last of October is November in Berlin; on the last of November it is December
    await made.call(GPT, {"input": 10, "output": 10}, at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC))
    await made.call(GPT, {"input": 20, "output": 20}, at=datetime(2026, 11, 30, 23, 30, tzinfo=UTC))
    await sync_to_async(made.credit)("-0.005", month="2026-11", at=at(14))
    yield made
    await sync_to_async(connections.close_all)()


def _tenant() -> Books:
    slug = f"books-{secrets.token_hex(4)}"
    tenant = Tenant.objects.create(slug=slug, name=f"=Books & Söhne {slug}", timezone="Europe/Berlin")
    EndUser.objects.create(
        tenant=tenant, external_id="alice", display_name="Alice Ahrens", cost_center="4711"
    )
    key, _ = issue_key(tenant, name="main")
    other, _ = issue_key(tenant, name="+side")
    return Books(tenant, key, other)
