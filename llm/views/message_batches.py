"""`/v1/messages/batches`: batches as Anthropic's API shows them.

Invariant: the same batches as `/v1/batches` in another shape; an error in a request is reported immediately,
because this API knows no batch that failed.
"""

from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse

from config.door.requests import GatewayRequest
from config.door.responses import Pieces, PlainResponse
from llm.batches import inline, requests
from llm.batches.checking import Check
from llm.batches.message_results import read_results
from llm.calls.headers import parse_headers
from llm.errors import InvalidRequest
from llm.files import stored, transfers
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.batches import drive_soon
from llm.views.documented import OF_A_LOOK_UP, OF_EVERY_CALL, OF_LINES, operation, query
from llm.views.pages import limit_of
from tenants.errors import ClientError

ENDPOINT: Final = "/v1/messages"


class MessageBatches(AsyncAPIView):
    """`POST /v1/messages/batches` with `requests`, and `GET` with `after_id`, `before_id` or `limit`."""

    max_body_bytes = stored.MAX_FILE_BYTES
    is_body_streamed = is_limited = True

    @operation(
        "createMessageBatch",
        "Start a batch of messages, as Anthropic's",
        tag="Files and batches",
        takes=schemas.MessageBatchOrder,
        answers=schemas.MessageBatchObject,
        example={
            "requests": [
                {
                    "custom_id": "first",
                    "params": {
                        "model": "claude-haiku-4-5",
                        "max_tokens": 200,
                        "messages": [{"role": "user", "content": "How do I activate my new card?"}],
                    },
                }
            ]
        },
        parameters=OF_LINES,
        errors=(*OF_A_LOOK_UP, 403, 413, 429),
        is_anthropic=True,
    )
    async def post(self, request: GatewayRequest) -> HttpResponse:
        headers = parse_headers(request.headers)
        tenant_id, key_id = self.principal.tenant_id, self.principal.key_id
        quotas = self.snapshot.policy.quotas
        place = stored.Place.of(tenant_id, key_id=key_id, quotas=quotas)
        with transfers.transfer(tenant_id):
            file = await inline.keep_requests(
                request.pieces(),
                place=place,
                check_of=lambda pieces: Check(
                    pieces, snapshot=self.snapshot, key_id=key_id, at=self.received_at, endpoint=ENDPOINT
                ),
            )
        try:
            row = await requests.create_batch(
                tenant_id,
                new=requests.NewBatch(
                    key_id=key_id,
                    endpoint=ENDPOINT,
                    input_file=file["id"],
                    user=self.principal.user or headers.user,
                    feature=headers.feature,
                    context=await requests.context_of(
                        headers, principal=self.principal, snapshot=self.snapshot
                    ),
                ),
                snapshot=self.snapshot,
            )
        except ClientError:
            await stored.delete_file(tenant_id, public_id=file["id"])
            raise
        await drive_soon()
        return json_response(batch_object(row, request=request))

    @operation(
        "listMessageBatches",
        "The tenant's batches of messages",
        tag="Files and batches",
        answers=schemas.MessageBatchList,
        parameters=(
            query("after_id", "The last object of the page before."),
            query("before_id", "The first object of the page after."),
            query("limit", "1 to 1000, 20 by default.", kind=int),
        ),
        errors=(*OF_EVERY_CALL, 400),
        is_anthropic=True,
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        limit = limit_of(request, least=1, largest=1000, default=20)
        before = request.GET.get("before_id", "")
        rows, has_more = await requests.list_batches(
            self.principal.tenant_id,
            after=before or request.GET.get("after_id", ""),
            limit=limit,
            is_ascending=bool(before),
            is_messages=True,
        )
        data = [batch_object(row, request=request) for row in (reversed(rows) if before else rows)]
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return json_response({"data": data, "has_more": has_more, **ends})


class MessageBatch(AsyncAPIView):
    """`GET` and `DELETE /v1/messages/batches/{id}`."""

    @operation(
        "getMessageBatch",
        "One batch of messages",
        tag="Files and batches",
        answers=schemas.MessageBatchObject,
        is_anthropic=True,
    )
    async def get(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        row = await requests.find_batch(self.principal.tenant_id, public_id=batch_id, is_messages=True)
        return json_response(batch_object(row, request=request))

    @operation(
        "deleteMessageBatch",
        "Delete a batch of messages that has ended",
        tag="Files and batches",
        answers=schemas.MessageBatchDeleted,
        is_anthropic=True,
    )
    async def delete(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        await requests.delete_batch(self.principal.tenant_id, public_id=batch_id, is_messages=True)
        return json_response({"id": batch_id, "type": "message_batch_deleted"})


class CancelMessageBatch(AsyncAPIView):
    """`POST /v1/messages/batches/{id}/cancel`."""

    @operation(
        "cancelMessageBatch",
        "Cancel a batch of messages",
        tag="Files and batches",
        answers=schemas.MessageBatchObject,
        is_anthropic=True,
    )
    async def post(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        row = await requests.cancel_batch(self.principal.tenant_id, public_id=batch_id, is_messages=True)
        await drive_soon()
        return json_response(batch_object(row, request=request))


class MessageBatchResults(AsyncAPIView):
    """`GET /v1/messages/batches/{id}/results`: a line for each request."""

    @operation(
        "readMessageBatchResults",
        "A line of JSON for each request of a batch that has ended",
        tag="Files and batches",
        content_type="application/x-jsonl",
        is_anthropic=True,
    )
    async def get(self, request: HttpRequest, batch_id: str) -> PlainResponse:
        row = await requests.find_batch(self.principal.tenant_id, public_id=batch_id, is_messages=True)
        if ended_at(row) is None:
            raise InvalidRequest("The batch has not ended yet.", param="batch_id")
        results = read_results(self.principal.tenant_id, batch_id=row["id"])
        return PlainResponse(Pieces(results), content_type="application/x-jsonl", headers={})


def batch_object(row: dict[str, Any], *, request: HttpRequest) -> dict[str, Any]:
    """A batch as Anthropic's API shows it; the counts move when the whole batch has ended."""
    ended = ended_at(row)
    succeeded, expired = (row["completed"], row["expired"]) if ended else (0, 0)
    errored = row["failed"] if ended else 0
    canceled = row["cancelled"] if ended else 0
    if row["status"] == "failed":  # refused by a budget: every request was
        errored, canceled = row["line_count"], 0
    left = row["line_count"] - succeeded - errored - canceled - expired
    cancelling = row["status"] == "cancelling"
    return {
        "id": row["public_id"],
        "type": "message_batch",
        "processing_status": "ended" if ended else "canceling" if cancelling else "in_progress",
        "request_counts": {
            "processing": 0 if ended else left,
            "succeeded": succeeded,
            "errored": errored,
            "canceled": canceled + (left if ended else 0),
            "expired": expired,
        },
        "created_at": row["created_at"].isoformat(),
        "expires_at": row["expires_at"].isoformat(),
        "ended_at": ended.isoformat() if ended else None,
        "cancel_initiated_at": row["cancelling_at"].isoformat() if row["cancelling_at"] else None,
        "archived_at": None,
        "results_url": request.build_absolute_uri(f"/v1/messages/batches/{row['public_id']}/results")
        if ended
        else None,
        "purser": requests.batch_object(row)["purser"],
    }


def ended_at(row: dict[str, Any]) -> datetime | None:
    """When the batch ended, None while it has not."""
    moments = (row[name] for name in ("completed_at", "cancelled_at", "expired_at", "failed_at"))
    return next((moment for moment in moments if moment), None)
