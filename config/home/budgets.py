"""The budgets on the home page: what the months' limits are together, and which are nearly used up.

Invariant: reads the windows that run now, and no others, however many there were.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.admin.figures import percent, usd
from config.home.choices import Choice

NEAR_SHARE: Final = Decimal("0.8")

_WHOSE: Final = "(%(tenants)s::bigint[] IS NULL OR {tenant} = ANY (%(tenants)s::bigint[]))"
_CURRENT: Final = f"""
SELECT budget_id, subject, sum(w.spent) AS spent, sum(w.spent + w.held) AS used
FROM billing_budgetwindow AS w
WHERE w.starts_at <= now() AND (w.ends_at > now() OR w.ends_at IS NULL) AND {_WHOSE.format(tenant="w.tenant_id")}
GROUP BY 1, 2"""
_RAISED: Final = """
LEFT JOIN LATERAL (
    SELECT coalesce(sum(extra_amount), 0) AS extra FROM billing_budgetraise
    WHERE budget_id = b.id AND starts_at <= now() AND ends_at > now()) AS raised ON true"""
MONTHS: Final = f"""
WITH current AS ({_CURRENT})
SELECT count(DISTINCT b.tenant_id), coalesce(sum(b.limit_amount + raised.extra), 0), coalesce(sum(c.spent), 0),
    (SELECT count(*) FROM tenants_tenant AS t WHERE t.status <> 'closed' AND {_WHOSE.format(tenant="t.id")})
FROM billing_budget AS b {_RAISED}
LEFT JOIN current AS c ON c.budget_id = b.id
WHERE b.is_active AND b.scope = 'tenant' AND b.unit = 'usd' AND b.period = 'month' AND {_WHOSE.format(tenant="b.tenant_id")}
"""
# of a budget for each user, the fullest one
NEAR: Final = f"""
WITH current AS ({_CURRENT}),
fullest AS (
    SELECT DISTINCT ON (b.id) b.id, c.subject, c.used, b.limit_amount + raised.extra AS amount
    FROM current AS c JOIN billing_budget AS b ON b.id = c.budget_id {_RAISED}
    WHERE b.is_active AND b.scope NOT IN ('run', 'prepaid') AND c.used > 0
      AND c.used >= %(share)s * (b.limit_amount + raised.extra)
    ORDER BY b.id, c.used DESC, c.subject)
SELECT id, subject, used, amount FROM fullest ORDER BY used / nullif(amount, 0) DESC NULLS FIRST, id LIMIT %(most)s
"""


@dataclass(frozen=True)
class MonthBudgets:
    """The monthly USD budgets of the chosen tenants together: of how many tenants, and how many tenants there are."""

    count: int
    limit: Decimal
    spent: Decimal
    tenants: int

    def a_day(self, today: date) -> Decimal | None:
        """What may be spent on each day of this month; None while a tenant has no budget."""
        first = today.replace(day=1)
        length = ((first + timedelta(days=31)).replace(day=1) - first).days
        return self.limit / length if 0 < self.tenants <= self.count else None

    def notes(self) -> list[str]:
        """What stands below the spend."""
        if not self.count:
            return ["no monthly budget"]
        if self.tenants == 1:
            which = "the month's budget"
        else:
            which = f"the monthly budgets of {self.count:,} of {self.tenants:,} tenants"
        return [f"{percent(self.spent, self.limit)} of {which}, {usd(self.limit)}"]


def month_budgets(choice: Choice) -> MonthBudgets:
    """What the tenants may spend this month."""
    return MonthBudgets(*_read(MONTHS, choice)[0])


def near_limit(choice: Choice, *, most: int) -> list[tuple[Any, ...]]:
    """The fullest budgets from 80 % on: id, whose window, what is used of it, its limit with raises."""
    return _read(NEAR, choice, share=NEAR_SHARE, most=most)


def _read(sql: str, choice: Choice, **arguments: Any) -> list[tuple[Any, ...]]:
    tenants = None if choice.tenant_ids is None else list(choice.tenant_ids)
    with connection.cursor() as cursor:
        cursor.execute(sql, {"tenants": tenants, **arguments})
        return list(cursor.fetchall())
