"""The tenant's own figures: budgets, the receipt of a request, feedback.

Invariant: every query runs inside the tenant's connection and names the tenant; a foreign object is a 404.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from psycopg.errors import UniqueViolation
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from billing.budgets.balances import Balance
from billing.ledger.holds import balances_of
from billing.money import plain
from billing.months.proofs.paths import proofs_of
from caching.semantic.complaints import Complaint, complain
from llm.calls.dimensions import allocation_of, dimensions_of
from llm.errors import InvalidRequest, NotFound
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.client_texts import Text
from llm.views.documented import OF_EVERY_CALL, operation, query
from tenants.allocation import LONGEST_VALUE, WITH_BUDGETS
from tenants.rls import tenant_connection

# the row of a call is written a moment after its answer: it is looked for again after each of these
PAUSES_SECONDS: Final = (0.1, 0.3)

Found = TypeVar("Found")

RECEIPT = "SELECT receipt FROM llm_requestlog WHERE tenant_id = %s AND request_id = %s"

FEEDBACK = """
INSERT INTO llm_feedback (tenant_id, request_id, rating, reason, at)
SELECT tenant_id, request_id, %(rating)s, %(reason)s, now()
FROM llm_requestlog WHERE tenant_id = %(tenant)s AND request_id = %(request_id)s
"""


class Budgets(AsyncAPIView):
    """`GET /v1/budgets?user=alice`: the budgets that apply to this key and, when named, this user, and what is left;
    also those of the cost centre and the project that a call of theirs would inherit."""

    @operation(
        "listBudgets",
        "The budgets that apply to this key, and what is left of them",
        tag="Figures",
        answers=schemas.BudgetList,
        parameters=(
            query(
                "user", "Also the budgets of this end user; a person's key is always asked of that person."
            ),
            query(
                "cost_center",
                "As a call would name it; without it that of the key, the user, the team or the tenant.",
            ),
            query("project", "The same of the project."),
        ),
        errors=OF_EVERY_CALL,
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        user = self.principal.user or request.GET.get("user", "")
        said = {} if self.principal.user else request.GET
        named = {
            name: said[name][:LONGEST_VALUE].replace("\x00", "") for name in WITH_BUDGETS if said.get(name)
        }
        allocation = allocation_of(self.snapshot, user=user, key_tags=self.principal.tags, tags=named)
        balances = await balances_of(
            self.principal.tenant_id,
            budgets=self.snapshot.budgets,
            dimensions=dimensions_of(allocation, user=user, key=self.principal.key_name),
            timezone=self.snapshot.tenant.timezone,
            at=self.received_at,
        )
        return json_response({"object": "list", "data": [describe_balance(balance) for balance in balances]})


class RequestReceipt(AsyncAPIView):
    """`GET /v1/requests/{id}`: everything that was done to one request, and why."""

    @operation(
        "getRequest",
        "The receipt of one request: every step and why, prices, holds, tokens by class, its proof once the month is closed",
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
        proofs = await proofs_of(request_id, tenant_id=self.principal.tenant_id, fetch=self._fetch)
        return json_response(row[0] | {"proofs": proofs} if proofs else row[0])

    async def _fetch(self, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async with tenant_connection(self.principal.tenant_id) as connection:
            return await (await connection.execute(sql, values)).fetchall()


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
