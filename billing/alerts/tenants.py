"""Notifies a tenant of what happened outside the ledger's own transactions.

Invariant: an event of a rule goes to the rule's channels; one without a rule to all of the tenant's, like a budget's share.
Nobody is notified twice of one subject and threshold.
"""

from collections.abc import Collection
from decimal import Decimal

from billing.models import AlertEvent, AlertRule


def rules_for(
    metrics: Collection[str], *, tenants: Collection[int]
) -> dict[tuple[int, str], list[AlertRule]]:
    """The active rules of tenants, by tenant and metric."""
    found: dict[tuple[int, str], list[AlertRule]] = {}
    rules = AlertRule.objects.filter(tenant_id__in=tenants, metric__in=metrics, is_active=True)
    for rule in rules.order_by("pk"):
        found.setdefault((rule.tenant_id, rule.metric), []).append(rule)
    return found


def notify_tenant(
    tenant_id: int,
    metric: str,
    message: str,
    *,
    rule: AlertRule | None = None,
    subject: str,
    value: Decimal,
    threshold: Decimal,
    link: str = "",
) -> None:
    """Write an event for a tenant, unless it was notified of this subject and threshold before."""
    event = AlertEvent(
        tenant_id=tenant_id, rule=rule, metric=metric, subject_key=subject, value=value, threshold=threshold,
        message=message, link=link,
    )  # fmt: skip
    AlertEvent.objects.bulk_create([event], ignore_conflicts=True)
