"""The sessions and runs of a tenant that were at work lately, from their sums by hour.

Invariant: a bounded list, and one query of a bounded time; never the ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db.models import Case, Count, F, Max, Min, Sum, TextField, Value, When

from billing.models import AgentHour

MOST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Work:
    """A session, or a run whose calls name no session."""

    tenant_id: int
    session: str
    run: str
    user: str
    users: int
    agents: int
    models: int
    requests: int
    cost_usd: Decimal
    first_hour: datetime
    last_hour: datetime

    @property
    def query(self) -> dict[str, str]:
        """What its page is asked for."""
        return {"session": self.session} if self.session else {"run": self.run}


def latest_work(
    tenant_ids: Sequence[int] | None, *, since: datetime, user: str = "", by_cost: bool = False
) -> list[Work]:
    """The last, or the dearest, at most MOST_SHOWN, of some tenants or of all."""
    hours = AgentHour.objects.filter(hour__gte=since)
    if tenant_ids is not None:
        hours = hours.filter(tenant_id__in=tenant_ids)
    if user:
        hours = hours.filter(user_id=user)
    named = Case(When(session="", then=F("run")), default=Value(""), output_field=TextField())
    rows = (
        hours.values("tenant_id", "session", lone_run=named)
        .annotate(
            named_run=Max("run"),
            user=Min("user_id"),
            users=Count("user_id", distinct=True),
            agents=Count("agent", distinct=True),
            models=Count("model", distinct=True),
            asked=Sum("requests"),
            cost=Sum("billed_cost"),
            first=Min("hour"),
            last=Max("hour"),
        )
        .order_by("-cost" if by_cost else "-last", "-cost", "tenant_id", "session", "lone_run")[:MOST_SHOWN]
    )
    return [
        Work(
            tenant_id=row["tenant_id"],
            session=row["session"],
            run=row["named_run"],
            user=row["user"],
            users=row["users"],
            agents=row["agents"],
            models=row["models"],
            requests=row["asked"],
            cost_usd=row["cost"],
            first_hour=row["first"],
            last_hour=row["last"],
        )
        for row in rows
    ]
