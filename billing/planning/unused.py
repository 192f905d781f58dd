"""What nobody uses: users without a call, and budgets that never come near their limit.

Invariant: suggestions only; nothing is changed. One tenant at a time, whole windows only, and bounded lists.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from django.db import connection

UNUSED_DAYS: Final = 30
MOST_USERS: Final = 100
MOST_BUDGETS: Final = 50
# A budget of which less than a quarter was ever used is larger than it needs to be; twice the most is roomy.
IDLE_BELOW: Final = Decimal("0.25")
ROOM: Final = 2

USERS: Final = """
SELECT u.id, u.external_id, u.display_name, u.cost_center, count(*) OVER () AS total
FROM tenants_enduser AS u
WHERE u.tenant_id = %(tenant)s AND u.is_active AND NOT EXISTS (
    SELECT FROM billing_usagedaily AS d
    WHERE d.tenant_id = u.tenant_id AND d.user_id = u.external_id AND d.day >= %(since)s AND d.requests > 0)
ORDER BY u.external_id LIMIT %(limit)s
"""
# Looked at: three months, four weeks or fourteen days, of which two at least are over.
BUDGETS: Final = """
WITH looked AS (
    SELECT w.budget_id, w.subject, w.starts_at, sum(w.spent) AS spent
    FROM billing_budget AS b
    JOIN billing_budgetwindow AS w ON w.budget_id = b.id AND w.tenant_id = b.tenant_id
    WHERE b.tenant_id = %(tenant)s AND b.is_active AND w.ends_at <= %(at)s AND w.starts_at >= %(at)s - CASE b.period
        WHEN 'day' THEN interval '15 days' WHEN 'week' THEN interval '36 days' ELSE interval '124 days' END
    GROUP BY w.budget_id, w.subject, w.starts_at),
most AS (
    SELECT budget_id, max(spent) AS spent, count(DISTINCT starts_at) AS windows FROM looked GROUP BY budget_id)
SELECT b.id, b.scope, b.value, b.unit, b.period, b.limit_amount, most.spent, most.windows
FROM most JOIN billing_budget AS b ON b.id = most.budget_id
WHERE most.windows >= 2 AND b.limit_amount > 0 AND most.spent > 0 AND most.spent < b.limit_amount * %(idle)s
ORDER BY most.spent / b.limit_amount, b.id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class UnusedUser:
    """A user without a request in the last 30 days."""

    id: int
    external_id: str
    name: str
    cost_center: str


@dataclass(frozen=True, slots=True)
class IdleBudget:
    """A budget whose fullest window used little of it."""

    id: int
    scope: str
    value: str
    unit: str
    period: str
    limit: Decimal
    most_spent: Decimal
    windows: int

    @property
    def used_percent(self) -> Decimal:
        return (self.most_spent * 100 / self.limit).quantize(Decimal("0.1"))

    @property
    def suggested(self) -> Decimal:
        """Twice the most that was used, to two digits, rounded up."""
        wanted = self.most_spent * ROOM
        step = Decimal(1).scaleb(wanted.adjusted() - 1)
        if self.unit != "usd":
            step = max(step, Decimal(1))
        return wanted.quantize(step, rounding=ROUND_CEILING) if step <= 1 else _up(wanted, step)


def unused_users(tenant_id: int, *, at: datetime) -> tuple[list[UnusedUser], int]:
    """Users without use, and how many there are of them altogether."""
    since = at.date() - timedelta(days=UNUSED_DAYS)
    rows = _rows(USERS, {"tenant": tenant_id, "since": since, "limit": MOST_USERS})
    return [UnusedUser(*row[:-1]) for row in rows], rows[0][-1] if rows else 0


def idle_budgets(tenant_id: int, *, at: datetime) -> list[IdleBudget]:
    """Budgets that could be smaller, the emptiest first."""
    arguments = {"tenant": tenant_id, "at": at, "idle": IDLE_BELOW, "limit": MOST_BUDGETS}
    return [IdleBudget(*row) for row in _rows(BUDGETS, arguments)]


def _up(amount: Decimal, step: Decimal) -> Decimal:
    return (amount / step).to_integral_value(ROUND_CEILING) * step


def _rows(statement: str, arguments: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return list(cursor.fetchall())
