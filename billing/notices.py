"""Writes alerts of what happened outside the ledger's own transactions, for a tenant or for the operators.

Invariant: nobody is notified twice of one subject, window and threshold. An alert of a rule goes to the rule's channels; one
without a rule to all of the tenant's, like a budget's share; one without a tenant to the operators' channels.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import structlog

from billing.models import AlertEvent, AlertRule

NO_FACTS: Final[Mapping[str, Any]] = MappingProxyType({})

log = structlog.get_logger(__name__)


def notify_operators(
    metric: str,
    message: str,
    *,
    subject: str = "",
    window: str = "",
    value: Decimal = Decimal(0),
    threshold: Decimal = Decimal(0),
    link: str = "",
    facts: Mapping[str, Any] = NO_FACTS,
) -> None:
    """Write an alert for the operators, unless they were notified of this subject and window before."""
    event = AlertEvent(
        tenant=None, metric=metric, subject_key=subject, window_key=window, value=value, threshold=threshold,
        message=message, link=link, facts=dict(facts),
    )  # fmt: skip
    AlertEvent.objects.bulk_create([event], ignore_conflicts=True)
    log.warning("operators_notified", metric=metric, subject=subject, window=window, message=message)


def notify_tenant(
    tenant_id: int,
    metric: str,
    message: str,
    *,
    rule: AlertRule | None = None,
    subject: str,
    window: str = "",
    value: Decimal,
    threshold: Decimal,
    link: str = "",
    facts: Mapping[str, Any] = NO_FACTS,
) -> None:
    """Write an alert for a tenant, unless it was notified of this subject, window and threshold before."""
    event = AlertEvent(
        tenant_id=tenant_id, rule=rule, metric=metric, subject_key=subject, window_key=window, value=value,
        threshold=threshold, message=message, link=link, facts=dict(facts),
    )  # fmt: skip
    AlertEvent.objects.bulk_create([event], ignore_conflicts=True)


def rules_for(
    metrics: Collection[str], *, tenants: Collection[int]
) -> dict[tuple[int, str], list[AlertRule]]:
    """The active rules of tenants, by tenant and metric."""
    found: dict[tuple[int, str], list[AlertRule]] = {}
    rules = AlertRule.objects.filter(tenant_id__in=tenants, metric__in=metrics, is_active=True)
    for rule in rules.order_by("pk"):
        found.setdefault((rule.tenant_id, rule.metric), []).append(rule)
    return found
