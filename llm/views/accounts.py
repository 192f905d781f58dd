"""The tenant's own figures: usage, budgets, the receipt of a request, feedback.

Invariant: every query runs inside the tenant's connection and names the tenant; a foreign object is a 404.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from billing.budgets.balances import Balance
from billing.ledger.dimensions import USAGE_GROUPS
from billing.ledger.holds import balances_of
from billing.ledger.measures import HITS, REQUESTS, ledger
from billing.money import plain
from billing.prices import savings
from billing.scopes import Dimensions
from caching.semantic.complaints import Complaint, complain
from llm.errors import InvalidRequest, NotFound
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.client_texts import Text
from llm.views.documented import OF_EVERY_CALL, operation, query
from tenants.rls import tenant_connection

GROUPS = {
    **{group: f"r.{column}" for group, column in USAGE_GROUPS.items()},
    "day": "(r.occurred_at AT TIME ZONE %(timezone)s)::date",
}
MAX_DAYS = 366
# the row of a call is written a moment after its answer: it is looked for again after each of these
PAUSES_SECONDS: Final = (0.1, 0.3)

Found = TypeVar("Found")

_ROWS = """r.tenant_id = %(tenant)s
  AND r.occurred_at >= %(start)s::date::timestamp AT TIME ZONE %(timezone)s
  AND r.occurred_at < (%(end)s::date + 1)::timestamp AT TIME ZONE %(timezone)s"""
USAGE = f"""
SELECT {{group}} AS "group", {REQUESTS} AS requests, {HITS} AS cache_hits,
       sum(r.input_tokens)::bigint AS input_tokens, sum(r.cache_read_tokens)::bigint AS cache_read_tokens,
       sum(r.cache_write_tokens)::bigint AS cache_write_tokens, sum(r.output_tokens)::bigint AS output_tokens,
       coalesce(sum(r.billed_cost), 0) AS cost_usd, coalesce(sum(r.list_cost), 0) AS list_cost_usd,
       coalesce(sum(r.billed_cost) FILTER (WHERE known.certainty = 'exact'), 0) AS exact_usd,
       coalesce(sum(r.billed_cost) FILTER (WHERE known.certainty = 'estimated'), 0) AS estimated_usd,
       coalesce(sum(r.billed_cost) FILTER (WHERE known.certainty = 'unread'), 0) AS unread_usd
FROM {ledger(_ROWS)}
-- what was explained since is exact: its bound and the correction together
CROSS JOIN LATERAL (SELECT CASE
    WHEN r.certainty = 'exact' THEN 'exact'
    WHEN EXISTS (SELECT FROM billing_attempt AS a WHERE a.id = r.attempt_id AND a.state = 'captured') THEN 'exact'
    ELSE r.certainty END AS certainty) AS known
WHERE {_ROWS}
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
WHERE {_ROWS} AND (r.cache_state = '{savings.REFRESH}' OR r.reason = '{savings.EARNED}')
"""

RECEIPT = "SELECT receipt FROM llm_requestlog WHERE tenant_id = %s AND request_id = %s"

FEEDBACK = """
INSERT INTO llm_feedback (tenant_id, request_id, rating, reason, at)
SELECT tenant_id, request_id, %(rating)s, %(reason)s, now()
FROM llm_requestlog WHERE tenant_id = %(tenant)s AND request_id = %(request_id)s
"""


class Usage(AsyncAPIView):
    """`GET /v1/usage?start=2026-11-01&end=2026-11-30&group_by=model`: sums of the ledger, days in the tenant's zone."""

    @operation(
        "getUsage",
        "Sums of the ledger over days in the tenant's time zone",
        tag="Figures",
        answers=schemas.UsageAnswer,
        parameters=(
            query("start", "First day, such as 2026-11-01; the first of this month by default."),
            query("end", "Last day, included; at most 366 after the first."),
            query("group_by", "`model` by default.", *GROUPS),
        ),
        errors=(*OF_EVERY_CALL, 400),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        today = datetime.now(UTC).date()
        start = _day(request, "start", default=today.replace(day=1))
        end = _day(request, "end", default=today + timedelta(days=1))
        group_by = request.GET.get("group_by", "model")
        if group_by not in GROUPS:
            raise InvalidRequest(f"group_by must be one of {', '.join(GROUPS)}.", param="group_by")
        if not timedelta(0) <= end - start <= timedelta(days=MAX_DAYS):
            raise InvalidRequest(f"end must lie at most {MAX_DAYS} days after start.", param="end")
        parameters = {
            "tenant": self.principal.tenant_id,
            "start": start,
            "end": end,
            "timezone": self.snapshot.tenant.timezone,
        }
        async with tenant_connection(self.principal.tenant_id) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(USAGE.format(group=GROUPS[group_by]), parameters)
            rows = await cursor.fetchall()
            await cursor.execute(REFRESH, parameters)
            refresh = await cursor.fetchone()
        if group_by == "key":
            names = {key.id: key.name for key in self.snapshot.tenant.keys.values()}
            for row in rows:
                row["group"] = names.get(row["group"], str(row["group"]))
        total = {
            name: sum((row[name] for row in rows), start=Decimal(0))
            for name in ("cost_usd", "list_cost_usd", "exact_usd", "estimated_usd", "unread_usd")
        }
        return json_response(
            {
                "object": "usage",
                "start": start,
                "end": end,
                "timezone": self.snapshot.tenant.timezone,
                "group_by": group_by,
                "counted_by": "time",
                "data": rows,
                "total": {"requests": sum(row["requests"] for row in rows), **total},
                "refresh": refresh,
            }
        )


class Budgets(AsyncAPIView):
    """`GET /v1/budgets?user=alice`: the budgets that apply to this key and, when named, this user, and what is left."""

    @operation(
        "listBudgets",
        "The budgets that apply to this key, and what is left of them",
        tag="Figures",
        answers=schemas.BudgetList,
        parameters=(query("user", "Also the budgets of this end user."),),
        errors=OF_EVERY_CALL,
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        balances = await balances_of(
            self.principal.tenant_id,
            budgets=self.snapshot.budgets,
            dimensions=Dimensions(user=request.GET.get("user", ""), key=self.principal.key_name),
            timezone=self.snapshot.tenant.timezone,
            at=self.received_at,
        )
        return json_response({"object": "list", "data": [describe_balance(balance) for balance in balances]})


class RequestReceipt(AsyncAPIView):
    """`GET /v1/requests/{id}`: everything that was done to one request, and why."""

    @operation(
        "getRequest",
        "The receipt of one request: every step and why, prices, holds, tokens by class",
        tag="Figures",
        answers=schemas.ReceiptAnswer,
    )
    async def get(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        async def look() -> tuple[Any, ...] | None:
            async with tenant_connection(self.principal.tenant_id) as connection:
                cursor = await connection.execute(RECEIPT, (self.principal.tenant_id, request_id))
                return await cursor.fetchone()

        row = await _once_written(look)
        if row is None:
            raise NotFound(f"There is no request '{request_id}'.")
        return json_response(row[0])


class _Rating(BaseModel):
    model_config = ConfigDict(extra="forbid")
    request_id: UUID
    rating: Literal[1, -1]
    reason: Annotated[Text, Field(max_length=2000)] = ""


class GiveFeedback(AsyncAPIView):
    """`POST /v1/feedback`: the caller's judgement of one answer, once."""

    @operation(
        "giveFeedback",
        "Rate the answer of one request, once; what is rated -1 is forgotten by the caches",
        tag="Figures",
        takes=schemas.FeedbackRequest,
        answers=schemas.FeedbackAnswer,
        status=201,
        example={"request_id": "01a1fe3e-7615-75f3-b4d6-816f46b2caca", "rating": 1, "reason": "right"},
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        try:
            rating = _Rating.model_validate(self.read_json(request))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidRequest(first["msg"], param=".".join(map(str, first["loc"]))) from None
        parameters: dict[str, Any] = {"tenant": self.principal.tenant_id, **rating.model_dump()}

        async def rate() -> int:
            async with tenant_connection(self.principal.tenant_id) as connection:
                return (await connection.execute(FEEDBACK, parameters)).rowcount

        try:
            rated = await _once_written(rate)
        except UniqueViolation:
            raise InvalidRequest("This request was rated before.", param="request_id") from None
        if not rated:
            raise NotFound(f"There is no request '{rating.request_id}'.", param="request_id")
        if rating.rating < 0:
            await self._complain(rating.request_id)
        return json_response(
            {"object": "feedback", "request_id": rating.request_id, "rating": rating.rating}, status=201
        )

    async def _complain(self, request_id: UUID) -> None:
        """An answer that a client found wrong is not given to the next one."""
        tenant_id = self.principal.tenant_id
        async with tenant_connection(tenant_id) as connection:
            row = await (await connection.execute(RECEIPT, (tenant_id, request_id))).fetchone()
        if row is not None:
            await complain(tenant_id, Complaint.of(row[0]))


async def _once_written(look: Callable[[], Awaitable[Found]]) -> Found:
    """What a look at a call's row finds, once it is written; nothing (false) where it does not come."""
    found = await look()
    for pause in PAUSES_SECONDS:
        if found:
            break
        await asyncio.sleep(pause)
        found = await look()
    return found


def describe_balance(balance: Balance) -> dict[str, Any]:
    """A budget's state as the API shows it (`schemas.figures.BudgetState`); amounts are exact decimal strings."""
    return {
        "budget": balance.describe(),
        "scope": balance.scope,
        "subject": balance.subject,
        "unit": balance.unit,
        "period": balance.period,
        "mode": balance.mode,
        "limit": plain(balance.limit),
        "spent": plain(balance.spent),
        "held": plain(balance.held),
        "remaining": plain(balance.remaining),
        "used_percent": plain(balance.used_percent),
        "resets_at": balance.resets_at,
    }


def _day(request: HttpRequest, name: str, *, default: date) -> date:
    text = request.GET.get(name)
    try:
        return date.fromisoformat(text) if text else default
    except ValueError:
        raise InvalidRequest(f"{name} must be a day like 2026-11-21.", param=name) from None
