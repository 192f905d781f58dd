"""What a budget would have refused: the calls of last month and of this one, gone through again with another limit.

Invariant: reads only, and in bounded time. The replay is exact for the windows, call by call; a time with too many calls is
estimated from the days' sums, and says so.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import connection
from django.utils.timezone import now

from billing.budgets.windows import span

MOST_CALLS: Final = 100_000  # gone through while somebody waits
MOST_SUBJECTS: Final = 10
EXACT: Final = "Call by call, in their order; calls that ran at the same time one after the other."
ROUGH: Final = f"Estimated from the sums of days, because there were more than {MOST_CALLS:,} calls."

COUNT: Final = """
SELECT count(*) FROM (SELECT FROM billing_usagerecord
    WHERE tenant_id = %(tenant)s AND occurred_at >= %(first)s AND occurred_at < %(until)s LIMIT %(most)s + 1) AS calls
"""
REPLAY: Final = """
SELECT subject, calls, usd, first_at FROM billing_replay_budget(
    %(tenant)s, %(scope)s, %(value)s, %(unit)s, %(period)s, %(zone)s, %(limit)s, %(first)s, %(until)s)
ORDER BY usd DESC, calls DESC, subject
"""
# what is beyond the limit in each window; its share of the window's calls
ESTIMATE: Final = """
WITH windows AS (
    SELECT CASE WHEN %(scope)s = 'key' THEN coalesce(k.name, '') ELSE d.value END AS subject,
           CASE WHEN %(period)s <> 'total' THEN date_trunc(%(period)s, d.day::timestamp) END AS begins,
           sum(d.requests - d.hits) AS calls, sum(d.billed_cost) AS usd,
           sum(CASE %(unit)s WHEN 'usd' THEN d.billed_cost WHEN 'tokens'
               THEN d.input_tokens + d.cache_read_tokens + d.cache_write_tokens + d.output_tokens
               ELSE d.requests - d.hits END) AS amount
    FROM billing_usagesum AS d
    LEFT JOIN tenants_apikey AS k ON %(scope)s = 'key' AND k.id::text = d.value AND k.tenant_id = d.tenant_id
    WHERE d.tenant_id = %(tenant)s AND d.day >= %(first)s::date AND d.day < %(until)s::date AND NOT d.is_rest
      AND d.dimension = CASE %(scope)s WHEN 'tenant' THEN 'total' WHEN 'cost_center' THEN 'team' ELSE %(scope)s END
    GROUP BY 1, 2)
SELECT subject, sum(ceil(calls * (amount - %(limit)s) / amount))::bigint,
       sum(usd * (amount - %(limit)s) / amount), NULL::timestamptz
FROM windows
WHERE amount > %(limit)s AND (%(scope)s = 'tenant' OR subject <> '') AND (%(value)s = '' OR subject = %(value)s)
GROUP BY 1 ORDER BY 3 DESC, 2 DESC, 1
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """One subject's calls that would have been refused, and what they cost."""

    subject: str
    calls: int
    usd: Decimal
    first_at: datetime | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What a limit would have refused in a time. `worst` are the subjects it would have hit most."""

    first: datetime
    until: datetime
    calls: int
    usd: Decimal
    subjects: int
    worst: tuple[Refused, ...]
    is_exact: bool

    @property
    def note(self) -> str:
        """How far it is to be trusted."""
        return EXACT if self.is_exact else ROUGH


def replay(
    budget: Any, *, limit: Decimal, first: datetime, until: datetime, most_calls: int = MOST_CALLS
) -> Replay:
    """Go through a time's calls with a limit. `budget` has the tenant, scope, value, unit and period."""
    asked = {
        "tenant": budget.tenant_id,
        "scope": budget.scope,
        "value": budget.value,
        "unit": budget.unit,
        "period": budget.period,
        "zone": budget.tenant.timezone,
        "limit": limit,
        "first": first,
        "until": until,
        "most": most_calls,
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNT, asked)
        is_exact = cursor.fetchone()[0] <= most_calls
        cursor.execute(REPLAY if is_exact else ESTIMATE, asked)
        refused = [Refused(*row) for row in cursor.fetchall()]
    return Replay(
        first=first,
        until=until,
        calls=sum(one.calls for one in refused),
        usd=sum((one.usd for one in refused), start=Decimal(0)),
        subjects=len(refused),
        worst=tuple(refused[:MOST_SUBJECTS]),
        is_exact=is_exact,
    )


def last_months(timezone: str, *, at: datetime | None = None) -> tuple[tuple[datetime, datetime], ...]:
    """The month before and the running one so far, in the tenant's zone: the times that a change is tried on."""
    at = at or now()
    first, _ = span("month", at=at, timezone=timezone)
    local = first.astimezone(ZoneInfo(timezone)) - timedelta(hours=12)
    before, _ = span("month", at=local, timezone=timezone)
    return (before, first), (first, at)
