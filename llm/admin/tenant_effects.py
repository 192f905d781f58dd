"""What a tenant does just now, in figures: shown before somebody stops it.

Invariant: reads only, and a bounded number of rows: at most `MOST_CALLS` of the last hour by the tenant's index, sums of two
days, and sums of hours of its sessions.
"""

from datetime import UTC, timedelta
from decimal import Decimal
from typing import Final

from django.db.models import Count, Sum
from django.utils.timezone import now

from billing.admin.figures import usd
from billing.models import AgentHour, UsageSum
from llm.admin.switch_effects import HOUR, MOST_CALLS, batches_under_way, many
from llm.models import RequestLog
from tenants.models import Tenant

MOST_SESSIONS: Final = 10_000


def effect_on_tenant(tenant: Tenant) -> list[str]:
    """Sentences: its calls and spend of the last hour and since yesterday, its live sessions, its batches."""
    return [_last_hour(tenant), _since_yesterday(tenant), _sessions(tenant), batches_under_way(tenant=tenant)]


def _last_hour(tenant: Tenant) -> str:
    newest = RequestLog.objects.filter(tenant=tenant, at__gte=now() - HOUR).order_by("-at")
    row = newest.values("cost_usd")[:MOST_CALLS].aggregate(calls=Count("*"), usd=Sum("cost_usd"))
    more = "at least " if row["calls"] >= MOST_CALLS else ""
    return f"In the last hour it made {more}{many(row['calls'], 'call')} for {usd(row['usd'] or Decimal(0))}."


def _since_yesterday(tenant: Tenant) -> str:
    yesterday = now().astimezone(UTC).date() - timedelta(days=1)
    sums = UsageSum.objects.filter(tenant=tenant, dimension=UsageSum.Dimension.TOTAL, day__gte=yesterday)
    row = sums.aggregate(calls=Sum("requests"), usd=Sum("billed_cost"))
    return (
        f"Since yesterday, UTC: {many(row['calls'] or 0, 'call')} for {usd(row['usd'] or Decimal(0))}, as far as it is"
        " summed."
    )


def _sessions(tenant: Tenant) -> str:
    """Sessions of tools and runs with a call in this hour or the one before."""
    hours = AgentHour.objects.filter(tenant=tenant, hour__gte=now() - 2 * HOUR)
    live = hours.order_by().values("session", "run").distinct()[:MOST_SESSIONS].count()
    if not live:
        return "No session of a coding agent is live."
    more = "at least " if live >= MOST_SESSIONS else ""
    return f"Live sessions and runs of coding agents: {more}{live:,}; each of their next calls is refused."
