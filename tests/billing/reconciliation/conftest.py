"""Provider accounts of a test's own at the real sandbox, called through the running product, and their bills.

Invariant: an account's report holds its own key's project alone, so no test reads another's calls. Days are given as
if it were the day after, because the sandbox's calls are today's.
"""

import hashlib
import json
import secrets
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from billing.models import CostComparison, UsageRecord
from llm.models import Provider
from llm.reconciliation.pulling import Reconciled, pull
from tests.books import Books
from tests.stack import LOCAL
from tests.world import Deployment, Member, World

OPENAI_PRICES = {"input": "2.5", "cache_read": "1.25", "output": "10"}  # the sandbox's own, of gpt-4o
ANTHROPIC_PRICES = {
    "input": "1",
    "cache_read": "0.1",
    "cache_write_5m": "1.25",
    "cache_write_1h": "2",
    "output": "5",
}
# about 9,000 tokens: 2.2 cents of gpt-4o's input
LONG = "The quick brown fox jumps over the lazy dog. " * 900


@dataclass
class Account:
    """One account at the sandbox with one model, and the verbs of its tests."""

    world: World
    books: Books
    deployment: Deployment
    kind: str

    @property
    def name(self) -> str:
        return self.deployment.provider

    @property
    def model(self) -> str:
        return self.deployment.model

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.deployment.account_key.encode()).hexdigest()[:16]

    @property
    def provider(self) -> Provider:
        return Provider.objects.get(name=self.name)

    def ask(
        self, text: str = "", *, member: Member | None = None, max_tokens: int = 40, **options: Any
    ) -> Any:
        """A call through the gateway, by the SDK of the account's kind."""
        text = f"{secrets.token_hex(6)} {text or 'Describe this code in a sentence.'}"
        turns = [{"role": "user", "content": text}]
        if self.kind == "openai":
            return self.world.openai(member).chat.completions.create(
                model=self.model, messages=turns, max_tokens=max_tokens, **options
            )
        return self.world.anthropic(member).messages.create(
            model=self.model, messages=turns, max_tokens=max_tokens, **options
        )

    def bypass(self, text: str = LONG) -> None:
        """A call to the provider with our account's key, past the gateway."""
        request = urllib.request.Request(
            f"{self.world.stack.sandbox_url}/v1/chat/completions",
            data=json.dumps(
                {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "max_tokens": 10}
            ).encode(),
            headers={
                "authorization": f"Bearer {self.deployment.account_key}",
                "content-type": "application/json",
            },
        )
        with LOCAL.open(request, timeout=30) as response:
            assert response.status == 200

    def settled(self, count: int) -> None:
        """Wait until so many calls of the tenant have ended."""
        self.books.settled(self.world.acme.id, count=count)

    def reconcile(self, **options: Any) -> Reconciled:
        """Pull the days since yesterday, as tomorrow would."""
        first, last, at = span()
        return pull(self.provider, **{"first": first, "last": last, "at": at} | options)

    def kinds(self, done: Reconciled | None = None) -> dict[tuple[str, str], str]:
        """What each model and meter that does not match is."""
        rows = (done or self.reconcile()).comparisons
        return {(row.model, row.meter): row.kind for row in rows if row.kind != CostComparison.Kind.MATCH}

    def booked_usd(self) -> Decimal:
        """What the ledger says this account cost."""
        rows = UsageRecord.objects.filter(provider=self.name)
        return sum((row.provider_cost for row in rows), start=Decimal(0))


def span() -> tuple[date, date, datetime]:
    """Yesterday, today, and a moment by which both are over."""
    today = now().astimezone(UTC).date()
    return today - timedelta(days=1), today, datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def make_account(
    world: World, books: Books, make_deployment: Callable[..., Deployment]
) -> Callable[..., Account]:
    """An account with the sandbox's own prices, unless a test wants others."""

    def make(kind: str = "openai", *, prices: dict[str, str] | None = None, **declared: Any) -> Account:
        usual = OPENAI_PRICES if kind == "openai" else ANTHROPIC_PRICES
        rows = [
            {"meter": meter, "usd_per_million": price} for meter, price in {**usual, **(prices or {})}.items()
        ]
        upstream = "gpt-4o" if kind == "openai" else "claude-haiku-4-5"
        deployment = make_deployment(kind, prices=rows, upstream=upstream, **declared)
        account = Account(world, books, deployment, kind)
        provider = account.provider
        provider.admin_api_key = "sk-admin-of-the-sandbox"
        prefix = "proj" if kind == "openai" else "wrkspc"
        provider.report_scope = {"projects": [f"{prefix}_{account.digest}"]}
        provider.save()
        return account

    return make
