"""Adds and ends the rules of a tenant's rate plan.

Invariant: a rule is added or ended, never edited: what was rated under it stays explained and can be rated
again. A new rule counts from now on unless an operator says otherwise.
"""

from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from billing.models import RateRule
from tenants.models import Tenant


@transaction.atomic
def set_rule(
    tenant: Tenant,
    *,
    priority: int,
    kind: str,
    value: Decimal | None = None,
    provider: str = "",
    model: str = "",
    meter: str = "",
    processing: str = "",
    valid_from: datetime | None = None,
    acting_user: User | None = None,
) -> RateRule:
    """Have a rule count at a priority from `valid_from` (now) on, in place of the one that is there.

    The same rule again changes nothing. Raises ValidationError, also where another rule follows at that priority.
    """
    at = valid_from or now()
    wanted = {
        "kind": kind,
        "value": value,
        "provider": provider,
        "model": model,
        "meter": meter,
        "processing": processing,
    }
    current = rule_at(tenant, priority=priority, at=at)
    if current is not None:
        if all(getattr(current, name) == new for name, new in wanted.items()):
            return current
        if current.valid_from == at:
            raise ValidationError({"priority": "another rule of this priority begins at the same moment"})
        _end(current, at=at, acting_user=acting_user)
    rule = RateRule(tenant=tenant, priority=priority, valid_from=at, created_by=acting_user, **wanted)
    rule._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    rule.full_clean()
    rule.save(force_insert=True)
    return rule


@transaction.atomic
def end_rule(rule: RateRule, *, at: datetime | None = None, acting_user: User | None = None) -> bool:
    """Have a rule count no more from `at` (now) on. False if it has ended by then."""
    ends_at = at or now()
    current = RateRule.objects.select_for_update().get(pk=rule.pk)
    if current.valid_to is not None and current.valid_to <= ends_at:
        return False
    if ends_at < current.valid_from:
        raise ValidationError({"valid_to": "must not lie before the rule's beginning"})
    _end(current, at=ends_at, acting_user=acting_user)
    return True


def rule_at(tenant: Tenant, *, priority: int, at: datetime) -> RateRule | None:
    """The rule that counts at a priority at a moment, locked; None if there is none."""
    rules = RateRule.objects.select_for_update().filter(tenant=tenant, priority=priority, valid_from__lte=at)
    return rules.exclude(valid_to__lte=at).first()


def _end(rule: RateRule, *, at: datetime, acting_user: User | None) -> None:
    rule.valid_to = at
    rule._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    rule.save(update_fields=["valid_to"])
