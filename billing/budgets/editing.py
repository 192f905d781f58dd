"""Setting and retiring budgets.

Invariant: a budget is known by what it limits (tenant, scope, value, unit, period). Its windows go on counting
when its limit changes, and it is retired, never deleted: what was spent under it stays explained.
"""

from collections.abc import Sequence
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction

from billing.models import Budget
from tenants.models import Tenant


@transaction.atomic
def set_budget(
    tenant: Tenant,
    *,
    scope: str,
    unit: str,
    period: str,
    limit_amount: Decimal,
    value: str = "",
    mode: str = Budget.Mode.HARD,
    alert_at: Sequence[int] = (80, 100),
    shards: int = 1,
    set_by: str = Budget.SetBy.TENANT,
    acting_user: User | None = None,
) -> Budget:
    """Limit something, or change its limit; one history row if anything changes. Raises ValidationError.

    `set_by` says whose budget a new one is; who set an old one stays.
    """
    what = {"tenant": tenant, "scope": scope, "value": value, "unit": unit, "period": period}
    budget = Budget.objects.select_for_update().filter(**what).order_by("-is_active", "-pk").first()
    wanted = {
        "limit_amount": limit_amount,
        "mode": mode,
        "alert_at": [*alert_at],
        "shards": shards,
        "is_active": True,
    }
    if budget is None:
        budget = Budget(**what, set_by=set_by)
    elif all(getattr(budget, name) == new for name, new in wanted.items()):
        return budget
    for name, new in wanted.items():
        setattr(budget, name, new)
    return _save(budget, acting_user)


def retire_budget(budget: Budget, *, acting_user: User | None = None) -> Budget:
    """Stop limiting: the budget refuses nothing any more, and its past stays."""
    if not budget.is_active:
        return budget
    budget.is_active = False
    return _save(budget, acting_user)


def _save(budget: Budget, acting_user: User | None) -> Budget:
    if acting_user is not None:
        budget._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    budget.full_clean()
    budget.save()
    return budget
