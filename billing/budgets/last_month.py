"""What each of a tenant's budgets would have refused last month, as it stands now: for a list of budgets, in bounded time.

Invariant: reads only. Where last month's calls are few they are gone through one by one (`replays`); else the small sums of days
say about how much was beyond the limit, or nothing where they do not know the budget's unit or scope.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connection
from django.utils.timezone import now

from billing.budgets.replays import last_months, replay
from billing.models import Budget

MOST_CALLS: Final = 20_000  # gone through, of all budgets together
SUMMED: Final = {"tenant": "total", "user": "user", "key": "key", "feature": "feature", "model": "model"}
COUNT: Final = """
SELECT coalesce(sum(requests - hits), 0) FROM billing_usagesum
WHERE tenant_id = %(tenant)s AND dimension = 'total' AND day >= %(first)s::date AND day <= %(until)s::date
"""
EXACT: Final = """
SELECT budget.id, sum(refused.calls)::bigint, sum(refused.usd)
FROM unnest(%(ids)s::bigint[], %(scopes)s::text[], %(values)s::text[], %(units)s::text[], %(periods)s::text[],
            %(limits)s::numeric[]) AS budget (id, scope, value, unit, period, most)
CROSS JOIN LATERAL billing_replay_budget(
    %(tenant)s, budget.scope, budget.value, budget.unit, budget.period, %(zone)s, budget.most, %(first)s, %(until)s) AS refused
GROUP BY 1
"""
ABOUT: Final = """
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(dimensions)s::text[], %(values)s::text[], %(units)s::text[], %(periods)s::text[],
                         %(limits)s::numeric[]) AS budget (id, dimension, value, unit, period, most)),
windows AS (
    SELECT asked.id, asked.most, sums.value, sum(sums.requests - sums.hits) AS calls,
           sum(sums.billed_cost - sums.adjusted_cost) AS usd,
           sum(CASE asked.unit WHEN 'usd' THEN sums.billed_cost - sums.adjusted_cost ELSE sums.requests - sums.hits END) AS amount
    FROM asked
    JOIN billing_usagesum AS sums ON sums.dimension = asked.dimension AND NOT sums.is_rest
    LEFT JOIN tenants_apikey AS k ON asked.dimension = 'key' AND k.id::text = sums.value AND k.tenant_id = %(tenant)s
    WHERE sums.tenant_id = %(tenant)s AND sums.day >= %(first)s::date AND sums.day < %(until)s::date
      AND (sums.dimension = 'total' OR sums.value <> '')
      AND asked.value IN ('', CASE asked.dimension WHEN 'key' THEN k.name ELSE sums.value END)
    GROUP BY asked.id, asked.most, sums.value,
             CASE WHEN asked.period <> 'total' THEN date_trunc(asked.period, sums.day::timestamp) END)
SELECT id, sum(ceil(calls * (amount - most) / amount))::bigint, sum(usd * (amount - most) / amount)
FROM windows WHERE amount > most GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Beyond:
    """The calls of last month beyond a budget's limit, and what they cost. `calls` is None where it is not known."""

    calls: int | None
    usd: Decimal = Decimal(0)
    is_exact: bool = False


def beyond_last_month(budgets: Sequence[Any], *, at: datetime | None = None) -> dict[int, Beyond]:
    """By budget; all of one tenant, each with its `tenant`."""
    if not budgets:
        return {}
    tenant = budgets[0].tenant
    first, until = last_months(tenant.timezone, at=at or now())[0]
    with connection.cursor() as cursor:
        cursor.execute(COUNT, {"tenant": tenant.pk, "first": first, "until": until})
        is_exact = cursor.fetchone()[0] * len(budgets) <= MOST_CALLS
    known = [one for one in budgets if is_exact or (one.scope in SUMMED and one.unit != Budget.Unit.TOKENS)]
    asked = {
        "tenant": tenant.pk,
        "zone": tenant.timezone,
        "first": first,
        "until": until,
        "ids": [one.pk for one in known],
        "scopes": [one.scope for one in known],
        "dimensions": [SUMMED.get(one.scope, "") for one in known],
        "values": [one.value for one in known],
        "units": [one.unit for one in known],
        "periods": [one.period for one in known],
        "limits": [one.limit_amount for one in known],
    }
    with connection.cursor() as cursor:
        cursor.execute(EXACT if is_exact else ABOUT, asked)
        found = {pk: Beyond(calls, usd, is_exact) for pk, calls, usd in cursor.fetchall()}
    none = Beyond(0, is_exact=is_exact)
    return {one.pk: Beyond(None) for one in budgets} | {one.pk: none for one in known} | found


def tried(budget: Any, first: datetime, until: datetime) -> Beyond:
    """One budget, call by call as far as `replays` goes."""
    gone = replay(budget, limit=budget.limit_amount, first=first, until=until)
    return Beyond(gone.calls, gone.usd, gone.is_exact)
