"""How full the budgets of single users are now: those set for a user by name, and those that each user has.

Invariant: what is used is what admission counts with: spent and held, over all shards of the running window.
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.models import Budget

USED: Final = """
SELECT b.id, w.subject, sum(w.spent + w.held), max(b.limit_amount + raised.extra)
FROM billing_budget AS b
JOIN billing_budgetwindow AS w ON w.budget_id = b.id AND w.starts_at <= now() AND (w.ends_at IS NULL OR w.ends_at > now())
CROSS JOIN LATERAL (
    SELECT coalesce(sum(extra_amount), 0) AS extra FROM billing_budgetraise
    WHERE budget_id = b.id AND starts_at <= now() AND ends_at > now()) AS raised
WHERE b.tenant_id = %(tenant)s AND b.is_active AND b.scope = 'user' AND w.tenant_id = %(tenant)s
  AND w.subject = ANY (%(users)s)
GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class UserBudget:
    """The fullest budget of a user."""

    budget: Budget
    used: Decimal
    limit: Decimal

    @property
    def percent(self) -> Decimal:
        return self.used * 100 / self.limit if self.limit else Decimal(100 if self.used else 0)


def fullest_of_users(tenant: Any, users: Collection[str]) -> dict[str, UserBudget]:
    """By user; a user whom no budget counts is left out, one who has spent nothing yet is at 0."""
    budgets = {one.pk: one for one in Budget.objects.filter(tenant=tenant, is_active=True, scope="user")}
    if not budgets or not users:
        return {}
    found = {
        user: UserBudget(budget, Decimal(0), budget.limit_amount)
        for budget in sorted(budgets.values(), key=lambda one: bool(one.value))
        for user in ([budget.value] if budget.value else users)
        if user and user in users
    }
    with connection.cursor() as cursor:
        cursor.execute(USED, {"tenant": tenant.pk, "users": list(users)})
        for pk, user, used, limit in cursor.fetchall():
            one = UserBudget(budgets[pk], used, limit)
            if user in found and (found[user].used == 0 or one.percent > found[user].percent):
                found[user] = one
    return found
