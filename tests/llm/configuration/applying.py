"""A configuration file with one of everything, and what its tests look at."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Q
from django.utils.timezone import now

from billing.models import AlertChannel, AlertRule, Budget, PriceRow
from llm.configuration import Changes, apply_configuration
from llm.models import LanguageModel, Provider
from tenants.models import ApiKey, EndUser, Tenant
from tests.declared import GPT_4O_MINI

ENVIRON = {
    "OPENAI_API_KEY": "sk-openai-secret",
    "ACME_KEY": "acme-secret-of-the-file-0123456789",
    "HOOK_SECRET": "hook-secret-of-the-file",
}
FILE = (
    """\
providers:
  - name: openai-of-file
    kind: openai
    base_url: https://api.openai.example/v1
    api_key: ${OPENAI_API_KEY}
    limits: {rpm: 5000, tpm: 2000000, concurrency: 200}
models:
  - name: mini-of-file
    provider: openai-of-file
"""
    + GPT_4O_MINI
    + """\
tenants:
  - slug: acme-of-file
    name: Acme GmbH
    timezone: Europe/Berlin
    policy:
      cache: {exact: true, ttl_seconds: 86400, max_entries: 10000,
              semantic: bounded,
              max_error_rate: 0.02,
              threshold: 0.95}
      routing: {enabled: true, default_tier: standard}
      compression: {enabled: false}
      pressure: [{at_percent: 90, demote: complex}, {at_percent: 95, only: simple}]
    users:
      - {id: alice, cost_center: "4711"}
    keys:
      - {name: ci, secret: ${ACME_KEY}, models: ["*"], expires: 2027-12-31}
    budgets:
      - {scope: tenant, unit: usd, period: month, limit: "1000", mode: hard, alert_at: [50, 80, 100], shards: 4}
      - {scope: user, unit: tokens, period: day, limit: 100000, mode: hard}
      - {scope: user, value: alice, unit: tokens, period: month, limit: 2000000, mode: hard}
    rate_limits: {rpm: 600, tpm: 400000, concurrency: 50}
    alerts:
      - {metric: request_cost, threshold: "0.50", channels: [ops]}
    channels:
      - {name: ops, kind: webhook, url: "https://hooks.example/purser", secret: ${HOOK_SECRET}}
"""
)
TABLES = (Provider, LanguageModel, PriceRow, Tenant, EndUser, ApiKey, Budget, AlertChannel, AlertRule)


def apply(text: str = FILE, **options: Any) -> Changes:
    return apply_configuration(text, source="purser.yaml", environ=ENVIRON, **options)


def rows() -> dict[str, list[tuple[Any, ...]]]:
    return {table.__name__: sorted(table.objects.values_list(), key=str) for table in TABLES}


def live_prices(at: datetime) -> dict[tuple[str, str], Decimal]:
    valid = PriceRow.objects.filter(
        Q(valid_to=None) | Q(valid_to__gt=at), valid_from__lte=at, superseded_at=None
    )
    return {(row.meter, row.processing): row.unit_price for row in valid.filter(model="mini-of-file")}


def summary(changes: Changes) -> list[str]:
    return [str(change) for change in changes.changes if change.action != "unchanged"]


def import_list_price(model: str, *, kind: str = "openai") -> None:
    for meter in ("input", "output"):
        PriceRow.objects.get_or_create(
            provider=kind,
            model=model,
            meter=meter,
            superseded_at=None,
            defaults={
                "unit_price": Decimal("0.7"),
                "per": 1_000_000,
                "valid_from": now(),
                "source": "import",
            },
        )
