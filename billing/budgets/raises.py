"""Raises: a budget's limit is higher for a limited time.

Invariant: a raise is one row with an amount, an end, a reason and a name; the budget itself does not change,
and admission counts a raise from the moment it is committed until its end.
"""

from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from billing.models import Budget, BudgetRaise
from tenants.people.authors import record_author


def raise_budget(
    budget: Budget,
    *,
    extra_amount: Decimal,
    ends_at: datetime,
    reason: str,
    acting_user: User | None = None,
) -> BudgetRaise:
    """Add to the budget's limit from now until `ends_at`; raises ValidationError for an end that has passed."""
    starts_at = now()
    if ends_at <= starts_at:
        raise ValidationError({"ends_at": "must be in the future"})
    raised = BudgetRaise(
        budget=budget,
        extra_amount=extra_amount,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason,
        approved_by=acting_user,
    )
    raised.full_clean()
    raised.save()
    return raised


@transaction.atomic
def end_raise(raised: BudgetRaise, *, acting_user: User | None = None) -> bool:
    """Take a raise back now. False if it has ended already."""
    at = now()
    running = BudgetRaise.objects.select_for_update().filter(pk=raised.pk, starts_at__lt=at, ends_at__gt=at)
    current = running.first()
    if current is None:
        return False
    current.ends_at = at
    record_author(current, acting_user=acting_user, reason="taken back")
    current.save(update_fields=["ends_at"])
    return True
