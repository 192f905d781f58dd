"""The views' base: DRF's machinery with authentication and handlers awaited on the event loop.

Invariant: every failure leaves as one of our outcomes, in the envelope of the API that was called,
with the request's id; nothing internal (a traceback, a secret) reaches the client.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson
import psycopg
import structlog
import uuid_utils
from django.conf import settings
from django.db import DataError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from psycopg_pool import PoolClosed, PoolTimeout
from rest_framework import exceptions
from rest_framework.views import APIView

from billing.errors import LedgerUnavailable
from config import resources
from config.door.bodies import OF_THE_BODY
from config.door.peers import client_address
from config.door.responses import Response
from llm.calls import refusals
from llm.catalog.loading import snapshots
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    envelope,
    error_headers,
)
from llm.tokens import counting
from llm.wire.texts import json_texts
from tenants.errors import Api, ClientError
from tenants.keys.authentication import credentials_of, identify
from tenants.limits import limiting as limits
from tenants.principal import Principal

DATABASE_AWAY = (
    *(psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed),
    *(OperationalError, InterfaceError),
)

OPENAI_PATHS = tuple(f"/v1/{name}" for name in ("chat/", "completions", "responses", "embeddings", "batches"))
# how drivers and Django refuse a text with a NUL
CANNOT_BE_STORED = (psycopg.DataError, DataError, ValueError)

AnyResponse = TypeVar("AnyResponse", bound=Response)

log = structlog.get_logger(__name__)


class AsyncAPIView(APIView):
    """A view of the gateway. Handlers are `async def get/post/delete(self, request, ...)` returning an HttpResponse.

    `self.principal`, `self.snapshot`, `self.request_id` and `self.received_at` are set before the handler runs.
    """

    authentication_classes: tuple[type, ...] = ()
    permission_classes: tuple[type, ...] = ()
    http_method_names: Sequence[str] = ("get", "post", "delete", "head")
    max_body_bytes = 20 * 1024 * 1024

    is_body_streamed = False  # whether its POST reads the body while it arrives
    # whether it counts against the rate limits as a call does; completions count themselves
    is_limited = False
    is_logged = False  # whether somebody else sees to the request's row in the log
    principal: Principal
    snapshot: TenantSnapshot
    request_id: UUID
    received_at: datetime

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        self.args, self.kwargs = args, kwargs
        self.request_id = new_request_id()
        self.received_at = datetime.now(UTC)
        structlog.contextvars.bind_contextvars(request_id=str(self.request_id))
        try:
            await self.initial_checks(request)
            handle = self._handle_limited if self.is_limited else self._handle
            response = await handle(request, *args, **kwargs)
        except OF_THE_BODY:  # the door answers
            raise
        except Exception as error:
            outcome = as_outcome(error)
            if not self.is_logged:
                self._leave_a_row(request, outcome)
            response = self.refuse(request, outcome)
        return with_request_id(response, request, self.request_id)

    async def initial_checks(self, request: HttpRequest) -> None:
        """Identify the caller and take the snapshot the whole request works with."""
        self.principal, self.snapshot = await identify_caller(request)
        structlog.contextvars.bind_contextvars(tenant=self.principal.tenant_slug)
        counting.counted_for.set(self.principal.tenant_id)

    def refuse(self, request: HttpRequest, error: ClientError) -> HttpResponse:
        """Render an outcome in the envelope of the API that was called."""
        return error_response(error, request, request_id=self.request_id)

    def _leave_a_row(self, request: HttpRequest, error: ClientError) -> None:
        """Refused before it became a call: the row of the log that says why. The client does not wait for it."""
        if isinstance(error, NotFound | MethodNotAllowed):
            return
        principal: Principal | None = getattr(self, "principal", None)
        work = refusals.log(
            error,
            request_id=self.request_id,
            at=self.received_at,
            endpoint=request.path,
            tenant_id=principal.tenant_id if principal else error.tenant_id,
            key_id=principal.key_id if principal else error.key_id,
        )
        resources.background(work)

    def read_json(self, request: HttpRequest, *, allow_list: bool = False) -> Any:
        """Decode the body once, or raise InvalidRequest. An object, or a list where that is allowed."""
        body = request.body
        most = json_texts.most_values(most_bytes=self.max_body_bytes)
        if len(body) > most and json_texts.values_in(body) > most:
            raise InvalidRequest(f"The body has more than {most:,} values.")
        try:
            decoded = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
        if json_texts.is_too_deep(decoded, body):
            raise InvalidRequest(f"The body is nested deeper than {json_texts.DEEPEST} levels.")
        if not isinstance(decoded, dict) and not (allow_list and isinstance(decoded, list)):
            raise InvalidRequest("The body must be a JSON object.")
        return decoded

    async def _handle_limited(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        slot = await limits.acquire(self.principal, tokens=0, style=api_of(request))
        try:
            response = await self._handle(request, *args, **kwargs)
        finally:
            await limits.release(slot)
        for name, value in slot.headers(api_of(request)).items():
            response.headers.setdefault(name, value)
        return response

    async def _handle(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        method = (request.method or "").lower()
        handler = getattr(self, method, None) if method in self.http_method_names else None
        if handler is None:
            allowed = ", ".join(name.upper() for name in self.http_method_names if hasattr(self, name))
            raise MethodNotAllowed(
                f"{request.method} is not a method of {request.path}.", headers={"allow": allowed}
            )
        response: Response = await handler(request, *args, **kwargs)
        return response


def new_request_id() -> UUID:
    """An id that sorts by time."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def error_response(error: ClientError, request: HttpRequest, *, request_id: UUID) -> HttpResponse:
    """An outcome in the envelope of the API that was called."""
    return HttpResponse(
        envelope(error, api=api_of(request), request_id=request_id),
        status=error.status,
        content_type="application/json",
        headers=error_headers(error, request_id=request_id),
    )


def with_request_id(response: AnyResponse, request: HttpRequest, request_id: UUID) -> AnyResponse:
    """The answer with the request's id under the name that the caller's API has for it."""
    if "x-request-id" not in response.headers:
        response.headers["x-request-id"] = str(request_id)
    if api_of(request) == Api.ANTHROPIC:
        response.headers["request-id"] = response.headers["x-request-id"]
    return response


async def identify_caller(request: HttpRequest) -> tuple[Principal, TenantSnapshot]:
    """The principal behind the request's key and the tenant's snapshot, or one of the 401 and 403 outcomes.

    Whom the door has identified is not identified again, unless the tenant has changed since."""
    known: tuple[Principal, TenantSnapshot] | None = getattr(request, "caller", None)
    if known is not None and snapshots.current(known[0].tenant_id) is known[1]:
        return known
    return await identify(
        credentials_of(request.headers), client_ip=client_ip_of(request), snapshots=snapshots
    )


def api_of(request: HttpRequest) -> Api:
    """Which API the caller speaks: by the path, or by Anthropic's header where both or neither have the path."""
    if request.path.startswith("/v1/messages"):
        return Api.ANTHROPIC
    is_openai = request.path.startswith(OPENAI_PATHS) or "anthropic-version" not in request.headers
    return Api.OPENAI if is_openai else Api.ANTHROPIC


def client_ip_of(request: HttpRequest) -> str:
    """The caller's address: the peer's, or what a trusted proxy says."""
    return client_address(
        str(request.META.get("REMOTE_ADDR", "")),
        forwarded_for=request.headers.get("x-forwarded-for", ""),
        trusted=settings.TRUSTED_PROXIES,
    )


def as_outcome(error: Exception) -> ClientError:
    """Turn any exception into an outcome; an unforeseen one becomes a 500 without details."""
    if isinstance(error, ClientError):
        return error
    if isinstance(error, exceptions.APIException):
        outcome = InvalidRequest(str(error.detail))
        outcome.status = error.status_code
        return outcome
    if isinstance(error, DATABASE_AWAY):
        log.warning("database_away", error=type(error).__name__)
        return LedgerUnavailable("The database is not available at the moment; try again.")
    if isinstance(error, CANNOT_BE_STORED) and ("NUL" in str(error) or "\\u0000" in str(error)):
        return InvalidRequest("A text in the request has a NUL character, which cannot be stored.")
    log.error("unforeseen_error", exc_info=error)
    return InternalError("Something went wrong on our side. The request id finds it in our logs.")


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """A JSON response from plain data; Decimal and datetime are written as strings."""
    return HttpResponse(
        orjson.dumps(body, default=str), status=status, content_type="application/json", headers=headers
    )
