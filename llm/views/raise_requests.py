"""`/v1/budgets/raise-requests`: ask for a larger budget, and read the decision.

Invariant: a request decides nothing; reading happens inside the tenant's connection, and a foreign request is a 404.
"""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from django.core.exceptions import ValidationError as Invalid
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from psycopg.rows import dict_row
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from billing.money import plain
from billing.scopes import Period, Scope, Unit
from llm.calls.headers import parse_headers
from llm.errors import InvalidRequest, NotFound
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.client_texts import Text
from llm.views.documented import OF_EVERY_CALL, operation, query
from tenants.rls import tenant_connection

LARGEST_PAGE = 100

_SELECT = """
SELECT asked.id, asked.state, asked.extra_amount, asked.ends_at, asked.reason, asked.key_id, asked.end_user,
       asked.created_at, asked.expires_at, asked.decided_at, asked.decision_reason,
       budget.scope, budget.value, budget.unit, budget.period
FROM billing_raiserequest AS asked JOIN billing_budget AS budget ON budget.id = asked.budget_id
"""
FIND = _SELECT + "WHERE asked.tenant_id = %(tenant)s AND budget.tenant_id = %(tenant)s AND asked.id = %(id)s"
LIST = (
    _SELECT
    + """
WHERE asked.tenant_id = %(tenant)s AND budget.tenant_id = %(tenant)s
  AND (%(state)s = '' OR asked.state = %(state)s) AND (%(user)s = '' OR asked.end_user = %(user)s)
ORDER BY asked.created_at DESC, asked.id LIMIT %(limit)s
"""
)
STATES = ("pending", "approved", "refused", "expired")


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")
    scope: Scope
    value: Annotated[Text, Field(max_length=200)] = ""
    unit: Unit
    period: Period
    amount: Annotated[Decimal, Field(gt=0, max_digits=28, decimal_places=12)]
    until: AwareDatetime
    reason: Annotated[Text, Field(min_length=1, max_length=300)]


class RaiseRequests(AsyncAPIView):
    """`POST` asks for a raise of one budget of the tenant, `GET` lists what was asked."""

    @operation(
        "requestRaise",
        "Ask for more of a budget for a time; an operator decides",
        tag="Figures",
        takes=schemas.RaiseWish,
        answers=schemas.RaiseRequestAnswer,
        status=201,
        example={
            "scope": "tenant",
            "unit": "usd",
            "period": "month",
            "amount": "250",
            "until": "2099-12-31T00:00:00Z",
            "reason": "the migration runs two weeks longer",
        },
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        body = self.read_json(request)
        if isinstance(body.get("amount"), float):
            raise InvalidRequest("Send 'amount' as a string: numbers of JSON are not exact.", param="amount")
        try:
            wish = _Wish.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidRequest(first["msg"], param=".".join(map(str, first["loc"]))) from None
        end_user = self.principal.user or parse_headers(request.headers).user
        asked_id = await asyncio.to_thread(
            _ask, self.principal.tenant_id, wish, key_id=self.principal.key_id, end_user=end_user
        )
        return json_response(await self._find(asked_id), status=201)

    @operation(
        "listRaiseRequests",
        "What was asked for, newest first, and what became of it",
        tag="Figures",
        answers=schemas.RaiseRequestList,
        parameters=(
            query("state", "Only those in this state.", *STATES),
            query("user", "Only those of this end user."),
        ),
        errors=(*OF_EVERY_CALL, 400),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        state = request.GET.get("state", "")
        if state and state not in STATES:
            raise InvalidRequest(f"state must be one of {', '.join(STATES)}.", param="state")
        parameters = {
            "tenant": self.principal.tenant_id,
            "state": state,
            "user": request.GET.get("user", ""),
            "limit": LARGEST_PAGE,
        }
        async with tenant_connection(self.principal.tenant_id) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(LIST, parameters)
            rows = await cursor.fetchall()
        return json_response({"object": "list", "data": [self._describe(row) for row in rows]})

    async def _find(self, asked_id: UUID) -> dict[str, Any]:
        async with tenant_connection(self.principal.tenant_id) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(FIND, {"tenant": self.principal.tenant_id, "id": asked_id})
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"There is no raise request '{asked_id}'.")
        return self._describe(row)

    def _describe(self, row: dict[str, Any]) -> dict[str, Any]:
        """A request as the API shows it (`schemas.figures.RaiseRequestAnswer`); amounts are exact decimal strings."""
        is_late = row["state"] == "pending" and row["expires_at"] <= datetime.now(UTC)
        names = {key.id: key.name for key in self.snapshot.tenant.keys.values()}
        return {
            "id": row["id"],
            "object": "budget.raise_request",
            "state": "expired" if is_late else row["state"],
            "scope": row["scope"],
            "value": row["value"],
            "unit": row["unit"],
            "period": row["period"],
            "amount": plain(row["extra_amount"]),
            "until": row["ends_at"],
            "reason": row["reason"],
            "requested_by": {"key": names.get(row["key_id"]), "user": row["end_user"] or None},
            "created_at": row["created_at"],
            "expires_at": row["expires_at"],
            "decided_at": row["decided_at"],
            "decision_reason": row["decision_reason"] or None,
        }


class OneRaiseRequest(RaiseRequests):
    """`GET /v1/budgets/raise-requests/{id}`: the state of one."""

    http_method_names = ("get",)

    @operation(
        "getRaiseRequest", "One request for a raise", tag="Figures", answers=schemas.RaiseRequestAnswer
    )
    async def get(self, request: HttpRequest, asked_id: UUID) -> HttpResponse:  # type: ignore[override]
        return json_response(await self._find(asked_id))


def _ask(tenant_id: int, wish: _Wish, *, key_id: int, end_user: str) -> UUID:
    """Write the request down. Runs in a thread: people ask rarely, and the function is the admin's own."""
    from billing.budgets.raise_requests import request_raise  # noqa: PLC0415 the ORM, in this thread alone
    from billing.models import Budget  # noqa: PLC0415 the ORM, in this thread alone

    close_old_connections()
    try:
        budget = Budget.objects.filter(
            tenant_id=tenant_id,
            is_active=True,
            scope=wish.scope,
            value=wish.value,
            unit=wish.unit,
            period=wish.period,
        ).first()
        if budget is None:
            whose = f"{wish.scope} '{wish.value}'" if wish.value else wish.scope
            raise NotFound(f"There is no {whose} budget in {wish.unit} per {wish.period}.", param="scope")
        try:
            asked = request_raise(
                budget,
                extra_amount=wish.amount,
                ends_at=wish.until,
                reason=wish.reason,
                key_id=key_id,
                end_user=end_user,
            )
        except Invalid as error:
            field = next(iter(error.message_dict)) if hasattr(error, "error_dict") else None
            named = {"ends_at": "until", "extra_amount": "amount"}.get(field or "", field)
            raise InvalidRequest(f"{named or 'The request'}: {error.messages[0]}.", param=named) from None
        return asked.pk
    finally:
        close_old_connections()
