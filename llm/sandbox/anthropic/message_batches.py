"""Owns Anthropic's `/v1/messages/batches`: create, retrieve, list, results, cancel, delete, and working them
off.

Invariant: when a batch has ended, every request has exactly one result.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.anthropic.messages import create_message
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, Exchange, Handler
from llm.sandbox.openai.batch_lines import run_line, with_fault
from llm.sandbox.openai.files import page_of
from llm.sandbox.state import Sandbox

HANDLERS: dict[str, Handler] = {"/v1/messages": create_message}
MOST_REQUESTS = 100_000
MOST_LISTED = 20
GOES_WRONG = ("expire", "lose_results", "odd_results")
REQUESTS_BETWEEN_PAUSES = 20


@dataclass(slots=True)
class MessageBatch:
    """A batch of messages and how far it is."""

    id: str
    key: str
    origin: str  # where results_url points to
    requests: list[dict[str, Any]]
    created_at: datetime
    fault: str = ""  # of those that make a batch go wrong
    status: str = "in_progress"
    cancelled_at: datetime | None = None
    ended_at: datetime | None = None
    counts: Counter[str] = field(default_factory=Counter)
    results: list[bytes] = field(default_factory=list)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def described(self) -> dict[str, Any]:
        """The message batch object of the API."""
        ended = self.status == "ended"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status,
            "request_counts": {
                "processing": 0 if ended else len(self.requests) - len(self.results),
                "succeeded": self.counts["succeeded"] if ended else 0,
                "errored": self.counts["errored"] if ended else 0,
                "canceled": self.counts["canceled"] if ended else 0,
                "expired": self.counts["expired"] if ended else 0,
            },
            "ended_at": _text(self.ended_at),
            "created_at": _text(self.created_at),
            "expires_at": _text(self.created_at + timedelta(hours=24)),
            "archived_at": None,
            "cancel_initiated_at": _text(self.cancelled_at),
            "results_url": f"{self.origin}/v1/messages/batches/{self.id}/results" if ended else None,
        }


async def create_message_batch(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/messages/batches."""
    sandbox = exchange.sandbox
    requests = exchange.body.get("requests")
    _check(requests)
    assert isinstance(requests, list)
    batch = MessageBatch(
        id=sandbox.ids.anthropic("msgbatch_"),
        key=exchange.call.key,
        origin=f"{exchange.request.scheme}://{exchange.request.host}",
        requests=requests,
        created_at=datetime.now(UTC),
        fault=next(filter(exchange.has_fault, GOES_WRONG), ""),
    )
    sandbox.message_batches[batch.id] = batch
    exchange.call.upstream_id = batch.id
    batch.task = asyncio.create_task(_work_off(sandbox, batch))
    return await exchange.answer(batch.described())


async def retrieve_message_batch(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/messages/batches/{id}."""
    return await exchange.answer(_asked(exchange).described())


async def list_message_batches(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/messages/batches, newest first."""
    batches = exchange.sandbox.message_batches.values()
    described = [batch.described() for batch in batches if batch.key == exchange.call.key]
    page = page_of(described[::-1], exchange, most=MOST_LISTED)
    return await exchange.answer({name: value for name, value in page.items() if name != "object"})


async def read_results(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/messages/batches/{id}/results: JSON lines."""
    batch = _asked(exchange)
    if batch.status != "ended":
        raise ProviderError(404, "The results of this batch are not available yet.")
    headers = {"request-id": exchange.request_id}
    return web.Response(body=b"".join(batch.results), content_type="application/x-jsonl", headers=headers)


async def cancel_message_batch(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/messages/batches/{id}/cancel: what has run keeps its result."""
    batch = _asked(exchange)
    if batch.status == "in_progress":
        batch.status, batch.cancelled_at = "canceling", datetime.now(UTC)
    return await exchange.answer(batch.described())


async def delete_message_batch(exchange: Exchange) -> web.StreamResponse:
    """DELETE /v1/messages/batches/{id}."""
    batch = _asked(exchange)
    if batch.status != "ended":
        raise ProviderError(400, "A batch must have ended before it can be deleted.")
    del exchange.sandbox.message_batches[batch.id]
    return await exchange.answer({"id": batch.id, "type": "message_batch_deleted"})


def _check(requests: Any) -> None:
    if not isinstance(requests, list) or not requests:
        raise ProviderError(400, "requests: Field required")
    if len(requests) > MOST_REQUESTS:
        raise ProviderError(400, f"requests: List should have at most {MOST_REQUESTS} items")
    seen: set[str] = set()
    for index, request in enumerate(requests):
        custom_id = request.get("custom_id") if isinstance(request, dict) else None
        if not isinstance(custom_id, str) or not isinstance(request.get("params"), dict):
            raise ProviderError(400, f"requests.{index}: custom_id and params are required")
        if custom_id in seen:
            raise ProviderError(400, f"requests.{index}.custom_id: custom_ids must be unique")
        seen.add(custom_id)


def _asked(exchange: Exchange) -> MessageBatch:
    batch_id = exchange.request.match_info["batch_id"]
    batch = exchange.sandbox.message_batches.get(batch_id)
    if not isinstance(batch, MessageBatch) or batch.key != exchange.call.key:
        raise ProviderError(404, f"Message batch {batch_id} not found")
    return batch


async def _work_off(sandbox: Sandbox, batch: MessageBatch) -> None:
    await asyncio.sleep(sandbox.settings.batch_delay_s)
    most = len(batch.requests) // 2 if batch.fault == "expire" else len(batch.requests)
    for index, request in enumerate(batch.requests):
        if batch.status == "canceling" or index >= most:
            outcome = "canceled" if batch.status == "canceling" else "expired"
            result: dict[str, Any] = {"type": outcome}
        else:
            result = await _run(sandbox, batch, request)
        batch.counts[result["type"]] += 1
        batch.results.append(orjson.dumps({"custom_id": request["custom_id"], "result": result}) + b"\n")
        if index % REQUESTS_BETWEEN_PAUSES == 0:
            await asyncio.sleep(0)
    batch.results = with_fault(batch.results, batch.fault)
    batch.status, batch.ended_at = "ended", datetime.now(UTC)


async def _run(sandbox: Sandbox, batch: MessageBatch, request: dict[str, Any]) -> dict[str, Any]:
    status, _, body = await run_line(
        sandbox,
        HANDLERS,
        kind=ANTHROPIC,
        path="/v1/messages",
        key=batch.key,
        batch_id=batch.id,
        custom_id=request["custom_id"],
        body=request["params"],
    )
    if status != 200:
        return {"type": "errored", "error": body}
    if "usage" in body:
        body = body | {"usage": body["usage"] | {"service_tier": "batch"}}
    return {"type": "succeeded", "message": body}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
