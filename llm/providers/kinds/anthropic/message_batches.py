"""Anthropic's message batches by the official SDK: the requests in one call, the results as a stream of
lines.

Invariant: these batches carry no metadata, so one whose answer was lost is known by the names of its lines
alone, and nothing is sent again while a batch that could be ours has not listed its names.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import anthropic
import orjson
from anthropic import APIResponse
from anthropic.types.messages import MessageBatch

from llm.providers.kinds import batch_files
from llm.providers.kinds.batch_api import (
    ALREADY_OVER,
    JobOrder,
    JobState,
    LineResult,
    NotCertainError,
    NotSubmittedError,
    UpstreamError,
)
from llm.providers.kinds.batch_results import lines_in
from llm.providers.kinds.sdk_failures import as_upstream_errors

CLOCK_SKEW: Final = timedelta(minutes=5)
CHUNK_BYTES: Final = 256 * 1024
AS_STREAM: Final = {"X-Stainless-Raw-Response": "stream"}  # to the SDK: do not read the answer
_STATUS_OF: Final = {"invalid_request_error": 400, "rate_limit_error": 429, "overloaded_error": 529}


class AnthropicBatches:
    """The batch API of one account at a server that speaks Anthropic's protocol."""

    def __init__(self, *, base_url: str, api_key: str) -> None:
        self._api_key = api_key
        self._client = anthropic.Anthropic(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=2,
            timeout=120,
            http_client=anthropic.DefaultHttpxClient(follow_redirects=False),  # the key is for this account
        )

    def upload(self, order: JobOrder) -> str:
        return ""  # the lines travel with the batch

    def submit(self, order: JobOrder, *, file_id: str) -> str:
        # Not by the SDK's own method: that takes all requests as one list.
        headers = {"content-type": "application/json", "idempotency-key": order.public_id}
        with (
            batch_files.written(_requests(order), most_bytes=order.most_bytes) as file,
            as_upstream_errors(api_key=self._api_key),
        ):
            batch = self._client.with_options(max_retries=0).post(
                "/v1/messages/batches", cast_to=MessageBatch, content=file, options={"headers": headers}
            )
        return batch.id

    def find(self, order: JobOrder, *, is_taken: Callable[[str], bool]) -> str:
        earliest = order.submitting_at - CLOCK_SKEW
        with as_upstream_errors(api_key=self._api_key):
            for batch in self._client.messages.batches.list(limit=100):
                if batch.created_at < earliest:
                    break
                counts = batch.request_counts
                total = (
                    counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                )
                if total != order.count or is_taken(batch.id):
                    continue
                if batch.processing_status != "ended":
                    raise NotCertainError(batch.id)
                if any(order.has(result.name) for result in self.results(batch.id)):
                    return batch.id
        raise NotSubmittedError(order.public_id)

    def look(self, upstream_id: str) -> JobState:
        with as_upstream_errors(api_key=self._api_key):
            batch = self._client.messages.batches.retrieve(upstream_id)
        return JobState(batch.processing_status, batch.processing_status == "ended")

    def results(self, upstream_id: str) -> Iterator[LineResult]:
        # Not by the SDK's own method: it sends the account's key to any `results_url` that the answer names.
        path = f"/v1/messages/batches/{quote(upstream_id, safe='')}/results"
        with ExitStack() as opened:
            with as_upstream_errors(api_key=self._api_key):
                response = self._client.get(path, cast_to=APIResponse[str], options={"headers": AS_STREAM})
                opened.callback(response.close)
                file = opened.enter_context(batch_files.downloaded(response.iter_bytes(CHUNK_BYTES)))
            for entry in lines_in(file):
                yield result_of(str(entry.get("custom_id")), entry.get("result") or {})

    def cancel(self, upstream_id: str) -> None:
        try:
            with as_upstream_errors(api_key=self._api_key):
                self._client.messages.batches.cancel(upstream_id)
        except UpstreamError as failure:
            if failure.status not in ALREADY_OVER:
                raise


def result_of(name: str, result: dict[str, Any]) -> LineResult:
    kind = result.get("type")
    if kind == "succeeded" and isinstance(result.get("message"), dict):
        return LineResult(name=name, status=200, answer=result["message"], error=None)
    if kind == "errored":
        error = result.get("error") or {}
        inner = error.get("error") or error
        code = str(inner.get("type", "provider_error"))
        error = {"code": code, "message": inner.get("message", "")}
        return LineResult(name=name, status=_STATUS_OF.get(code, 500), answer=None, error=error)
    code = "batch_expired" if kind == "expired" else "batch_cancelled"
    error = {"code": code, "message": f"The request was {kind} before it was answered."}
    return LineResult(name=name, status=499, answer=None, error=error)


def _requests(order: JobOrder) -> Iterator[bytes]:
    """The body of a batch, a request at a time."""
    before = b'{"requests":['
    for line in order.lines():
        yield before + orjson.dumps({"custom_id": line.name, "params": line.body})
        before = b","
    yield b"]}"
