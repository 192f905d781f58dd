"""`GET /v1/usage`: sums of the ledger, in groups.

Invariant: every query runs inside the tenant's connection and names the tenant. A sum says which rows it has: by `time`, the
calls of some days; by `statement`, what is booked in some months, which is what their statements bill. Of months, the answer
says how the two differ.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from billing.ledger.dimensions import USAGE_GROUPS
from billing.ledger.measures import (
    CALLS,
    ENTRIES_USD,
    FURTHER_CALLS,
    HITS,
    LIST_USD,
    OWN_CALLS,
    REQUESTS,
    SAVED_USD,
    UNALLOCATED_REQUESTS,
    UNALLOCATED_USD,
    sure_ledger,
    usd,
)
from billing.months.reconciling import OF_PERIODS, RECONCILE
from billing.prices import savings
from llm.errors import InvalidRequest
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.documented import OF_EVERY_CALL, operation, query
from tenants.rls import tenant_connection

GROUPS = {
    **{group: f"r.{column}" for group, column in USAGE_GROUPS.items()},
    "day": "(r.occurred_at AT TIME ZONE %(timezone)s)::date",
}
MAX_DAYS = 366
TIME, STATEMENT = BASES = ("time", "statement")

OF_DAYS: Final = """r.tenant_id = %(tenant)s
  AND r.occurred_at >= %(start)s::date::timestamp AT TIME ZONE %(timezone)s
  AND r.occurred_at < (%(end)s::date + 1)::timestamp AT TIME ZONE %(timezone)s"""
OF_BOUNDS: Final = (
    "r.tenant_id = %(tenant)s AND r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s"
)
# The USD of a group; those of the total are their sums.
AMOUNTS: Final = {
    "cost_usd": usd("r.billed_cost", "true"),
    "list_cost_usd": LIST_USD,
    "saved_usd": SAVED_USD,
    **{f"{name}_usd": amount for name, amount in ENTRIES_USD.items()},
    **{
        f"{name}_usd": usd("r.billed_cost", f"known.certainty = '{name}'")
        for name in ("exact", "estimated", "unread")
    },
    "least_usd": usd("bounds.least_usd", "true"),
    "most_usd": usd("bounds.most_usd", "true"),
    "unallocated_usd": UNALLOCATED_USD,
}
COUNTS: Final = {
    "requests": REQUESTS,
    "calls": CALLS,
    "further_calls": FURTHER_CALLS,
    "own_calls": OWN_CALLS,
    "cache_hits": HITS,
    "unallocated_requests": UNALLOCATED_REQUESTS,
    **{
        name: f"sum(r.{name})::bigint"
        for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    },
}


def usage_sql(*, group: str, rows: str) -> str:
    """The sums of the rows for which a condition holds, in groups of GROUPS, the highest cost first."""
    figures = ", ".join(f"{sql} AS {name}" for name, sql in {**COUNTS, **AMOUNTS}.items())
    return f"""
SELECT {GROUPS[group]} AS "group", {figures}
FROM {sure_ledger(rows)} WHERE {rows}
GROUP BY 1 ORDER BY cost_usd DESC, 1
"""


# The condition is that of the index usagerecord_refresh, so that the others are not read.
REFRESH = f"""
SELECT count(*) FILTER (WHERE r.cache_state = '{savings.REFRESH}' AND r.kind = 'usage') AS refreshed,
       coalesce(sum(r.billed_cost), 0) AS cost_usd,
       count(*) FILTER (WHERE r.reason = '{savings.EARNED}') AS hits,
       coalesce(sum((r.saving ->> '{savings.GATEWAY_CACHE}')::numeric)
                FILTER (WHERE r.reason = '{savings.EARNED}'), 0) AS saved_usd,
       coalesce(sum((r.saving ->> '{savings.GATEWAY_CACHE}')::numeric), 0) AS net_usd
FROM billing_usagerecord AS r
WHERE {{rows}} AND (r.cache_state = '{savings.REFRESH}' OR r.reason = '{savings.EARNED}')
"""
PERIODS = """
SELECT id, label AS month, timezone, starts_at, ends_at, status FROM billing_billingperiod
WHERE tenant_id = %(tenant)s AND label BETWEEN %(first)s AND %(last)s ORDER BY starts_at
"""


class Usage(AsyncAPIView):
    """`GET /v1/usage?month=2026-11&basis=statement&group_by=model`: sums of the ledger, days in the tenant's zone."""

    @operation(
        "getUsage",
        "Sums of the ledger: by time, or as statements have them",
        tag="Figures",
        answers=schemas.UsageAnswer,
        parameters=(
            query("start", "First day, such as 2026-11-01; the first of this month by default."),
            query("end", "Last day, included; at most 366 after the first."),
            query(
                "month",
                "A billing month, such as 2026-11, instead of days: its own bounds, in its own time zone.",
            ),
            query(
                "basis",
                "`time`: what was called in the days or the month. `statement`: what is booked in the month, or in those from"
                " the start's to the end's, which is what the statement bills. `time` by default.",
                *BASES,
            ),
            query("group_by", "`model` by default.", *GROUPS),
        ),
        errors=(*OF_EVERY_CALL, 400),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        start, end, months = _span(request)
        group_by = _choice(request, "group_by", GROUPS, default="model")
        basis = _choice(request, "basis", BASES, default=TIME)
        if basis == STATEMENT:
            last = end if request.GET.get("end") else datetime.now(UTC).date()
            months = months or (f"{start:%Y-%m}", f"{last:%Y-%m}")
        timezone = self.snapshot.tenant.timezone
        arguments = {"tenant": self.principal.tenant_id, "start": start, "end": end, "timezone": timezone}
        rows = OF_DAYS
        periods: list[dict[str, Any]] = []
        reconciliation = None
        async with tenant_connection(self.principal.tenant_id) as connection:
            if months:
                periods = await _read(
                    connection, PERIODS, arguments | dict(zip(("first", "last"), months, strict=True))
                )
                arguments["periods"] = [period.pop("id") for period in periods]
                rows = OF_PERIODS if basis == STATEMENT else rows
            if periods:
                arguments |= {"starts_at": periods[0]["starts_at"], "ends_at": periods[-1]["ends_at"]}
                arguments["timezone"] = timezone = periods[-1]["timezone"]
                rows = OF_BOUNDS if basis == TIME else rows
            groups = await _read(connection, usage_sql(group=group_by, rows=rows), arguments)
            refresh = await _read(connection, REFRESH.format(rows=rows), arguments)
            if periods:
                (reconciliation,) = await _read(connection, RECONCILE, arguments)
        if group_by == "key":
            names = {key.id: key.name for key in self.snapshot.tenant.keys.values()}
            for row in groups:
                row["group"] = names.get(row["group"], str(row["group"]))
        total = {name: sum((row[name] for row in groups), start=Decimal(0)) for name in AMOUNTS}
        counts = {
            name: sum(row[name] for row in groups)
            for name in ("requests", "calls", "further_calls", "own_calls", "unallocated_requests")
        }
        return json_response(
            {
                "object": "usage",
                "start": start,
                "end": end,
                "timezone": timezone,
                "group_by": group_by,
                "basis": basis,
                "counted_by": basis,
                "periods": periods,
                "data": groups,
                "total": counts | total,
                "reconciliation": reconciliation and _reconciled(reconciliation, total["cost_usd"], basis),
                "refresh": refresh[0],
            }
        )


def _reconciled(parts: dict[str, Decimal], cost_usd: Decimal, basis: str) -> dict[str, Decimal]:
    """Both sums, and what leads from one to the other."""
    carried = parts["of_earlier_months_usd"] - parts["booked_later_usd"]
    return {
        "by_time_usd": cost_usd if basis == TIME else cost_usd - carried,
        **parts,
        "booked_usd": cost_usd if basis == STATEMENT else cost_usd + carried,
    }


async def _read(
    connection: AsyncConnection[Any], sql: str, arguments: dict[str, Any]
) -> list[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(sql, arguments)
    return await cursor.fetchall()


def _span(request: HttpRequest) -> tuple[date, date, tuple[str, str] | None]:
    """The days that are asked for, and the first and last month if months are. Raises InvalidRequest."""
    if month := request.GET.get("month"):
        if request.GET.get("start") or request.GET.get("end"):
            raise InvalidRequest("Give month, or start and end.", param="month")
        if not re.fullmatch(r"[1-9]\d{3}-(0[1-9]|1[0-2])", month):
            raise InvalidRequest("month must be a month like 2026-11.", param="month")
        first = date.fromisoformat(f"{month}-01")
        return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1), (month, month)
    today = datetime.now(UTC).date()
    start = _day(request, "start", default=today.replace(day=1))
    end = _day(request, "end", default=today + timedelta(days=1))
    if not timedelta(0) <= end - start <= timedelta(days=MAX_DAYS):
        raise InvalidRequest(f"end must lie at most {MAX_DAYS} days after start.", param="end")
    return start, end, None


def _choice(request: HttpRequest, name: str, values: Any, *, default: str) -> str:
    value = request.GET.get(name) or default
    if value not in values:
        raise InvalidRequest(f"{name} must be one of {', '.join(values)}.", param=name)
    return value


def _day(request: HttpRequest, name: str, *, default: date) -> date:
    text = request.GET.get(name)
    try:
        return date.fromisoformat(text) if text else default
    except ValueError:
        raise InvalidRequest(f"{name} must be a day like 2026-11-21.", param=name) from None
