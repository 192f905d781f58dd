"""`/v1/batches`: create, list, read, cancel.

Invariant: a view parses and renders; the batch is written down in `llm.batches.requests` and driven by
Celery.
"""

import asyncio
from typing import Any, Literal

import structlog
from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel, ValidationError

from llm.batches import requests
from llm.batches.lines import ENDPOINTS
from llm.calls.headers import parse_headers
from llm.errors import InvalidRequest
from llm.tasks import take_turns
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.client_texts import Metadata, Text
from llm.views.documented import OF_EVERY_CALL, OF_LINES, operation
from llm.views.pages import page_of, page_parameters

log = structlog.get_logger(__name__)


class _Order(BaseModel):
    input_file_id: Text
    endpoint: Literal[ENDPOINTS]  # type: ignore[valid-type]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None


class Batches(AsyncAPIView):
    """`POST /v1/batches` and `GET /v1/batches?after=&limit=`."""

    @operation(
        "createBatch",
        "Start a batch over an uploaded file",
        tag="Files and batches",
        takes=schemas.BatchOrder,
        answers=schemas.BatchObject,
        example={
            "input_file_id": "file-0123456789abcdef01234567",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        },
        parameters=OF_LINES,
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        try:
            order = _Order.model_validate(self.read_json(request))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidRequest(first["msg"], param=".".join(map(str, first["loc"]))) from None
        headers = parse_headers(request.headers)
        row = await requests.create_batch(
            self.principal.tenant_id,
            new=requests.NewBatch(
                key_id=self.principal.key_id,
                endpoint=order.endpoint,
                input_file=order.input_file_id,
                metadata=order.metadata,
                user=self.principal.user or headers.user,
                feature=headers.feature,
                context=await requests.context_of(headers, principal=self.principal, snapshot=self.snapshot),
            ),
            snapshot=self.snapshot,
        )
        await drive_soon()
        return _render(row)

    @operation(
        "listBatches",
        "The tenant's batches",
        tag="Files and batches",
        answers=schemas.BatchList,
        parameters=page_parameters("1 to 100, 20 by default."),
        errors=(*OF_EVERY_CALL, 400),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        page = page_of(request, largest=100, default=20)
        rows, has_more = await requests.list_batches(
            self.principal.tenant_id, after=page.after, limit=page.limit, is_ascending=page.is_ascending
        )
        return json_response(page.render([requests.batch_object(row) for row in rows], has_more=has_more))


class Batch(AsyncAPIView):
    """`GET /v1/batches/{id}`."""

    @operation("getBatch", "One batch", tag="Files and batches", answers=schemas.BatchObject)
    async def get(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        return _render(await requests.find_batch(self.principal.tenant_id, public_id=batch_id))


class CancelBatch(AsyncAPIView):
    """`POST /v1/batches/{id}/cancel`."""

    @operation("cancelBatch", "Cancel a batch", tag="Files and batches", answers=schemas.BatchObject)
    async def post(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        row = await requests.cancel_batch(self.principal.tenant_id, public_id=batch_id)
        await drive_soon()
        return _render(row)


async def drive_soon() -> None:
    """Ask a worker to look for batches now. Without a broker the beat's next tick does it."""
    try:
        await asyncio.wait_for(asyncio.to_thread(take_turns.apply_async, expires=60, retry=False), timeout=2)
    except Exception as error:
        log.warning("batch_waits_for_beat", error=type(error).__name__)


def _render(row: dict[str, Any]) -> HttpResponse:
    return json_response(requests.batch_object(row))
