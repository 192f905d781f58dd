"""OpenAI's batch API by its official SDK: a file of lines, a batch over it, an output and an error file.

Invariant: a batch carries our name in its metadata, by which it is found again when the answer to its
creation is lost.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import IO, Any, Final, cast

import openai
import orjson

from llm.providers.kinds import batch_files
from llm.providers.kinds.batch_api import (
    ALREADY_OVER,
    JobOrder,
    JobState,
    LineResult,
    NotSubmittedError,
    UpstreamError,
)
from llm.providers.kinds.batch_results import error_in_answer, lines_in
from llm.providers.kinds.sdk_failures import as_upstream_errors
from llm.wire.error_bodies import error_in

NAME_IN_METADATA: Final = "purser_job"
CLOCK_SKEW: Final = timedelta(minutes=5)
CHUNK_BYTES: Final = 256 * 1024
_OVER: Final = frozenset({"completed", "failed", "expired", "cancelled"})


class OpenAIBatches:
    """The batch API of one account at a server that speaks OpenAI's protocol."""

    def __init__(self, *, base_url: str, api_key: str) -> None:
        self._api_key = api_key
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=2,
            timeout=120,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),  # the key is for this account
        )

    def upload(self, order: JobOrder) -> str:
        rows = (
            orjson.dumps(
                {"custom_id": line.name, "method": "POST", "url": f"/v1{order.path}", "body": line.body},
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for line in order.lines()
        )
        with (
            batch_files.written(rows, most_bytes=order.most_bytes) as file,
            as_upstream_errors(api_key=self._api_key),
        ):
            created = self._client.files.create(file=(f"{order.public_id}.jsonl", file), purpose="batch")
        return created.id

    def submit(self, order: JobOrder, *, file_id: str) -> str:
        with as_upstream_errors(api_key=self._api_key):
            batch = self._client.with_options(max_retries=0).batches.create(
                input_file_id=file_id,
                endpoint=cast(Any, f"/v1{order.path}"),
                completion_window="24h",
                metadata={NAME_IN_METADATA: order.public_id},
                extra_headers={"Idempotency-Key": order.public_id},
            )
        return batch.id

    def find(self, order: JobOrder, *, is_taken: Callable[[str], bool]) -> str:
        earliest = (order.submitting_at - CLOCK_SKEW).timestamp()
        with as_upstream_errors(api_key=self._api_key):
            for batch in self._client.batches.list(limit=100):
                if (batch.metadata or {}).get(NAME_IN_METADATA) == order.public_id:
                    return batch.id
                if batch.created_at < earliest:
                    break
        raise NotSubmittedError(order.public_id)

    def look(self, upstream_id: str) -> JobState:
        with as_upstream_errors(api_key=self._api_key):
            batch = self._client.batches.retrieve(upstream_id)
        problems = [problem.message or "" for problem in (batch.errors.data or [])] if batch.errors else []
        failure = "; ".join(filter(None, problems))[:500] or "The provider failed the batch."
        return JobState(batch.status, batch.status in _OVER, failure if batch.status == "failed" else "")

    def results(self, upstream_id: str) -> Iterator[LineResult]:
        with as_upstream_errors(api_key=self._api_key):
            batch = self._client.batches.retrieve(upstream_id)
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                with self._downloaded(file_id) as file:
                    yield from map(result_of, lines_in(file))

    @contextmanager
    def _downloaded(self, file_id: str) -> Iterator[IO[bytes]]:
        with ExitStack() as opened:
            with as_upstream_errors(api_key=self._api_key):
                content = self._client.files.with_streaming_response.content
                response = opened.enter_context(content(file_id))
                file = opened.enter_context(batch_files.downloaded(response.iter_bytes(CHUNK_BYTES)))
            yield file

    def cancel(self, upstream_id: str) -> None:
        try:
            with as_upstream_errors(api_key=self._api_key):
                self._client.batches.cancel(upstream_id)
        except UpstreamError as failure:
            if failure.status not in ALREADY_OVER:
                raise


def result_of(line: dict[str, Any]) -> LineResult:
    response = line.get("response") or {}
    status = int(response.get("status_code") or 500)
    body = response.get("body")
    name = str(line.get("custom_id"))
    stated = error_in({"error": line.get("error")})
    if isinstance(body, dict) and not stated:
        if 200 <= status < 300 and error_in_answer(body) is None:
            return LineResult(name=name, status=status, answer=body, error=None)
        stated = error_in(body)
    error = stated or {"code": "provider_error", "message": "The provider gave no answer."}
    return LineResult(name=name, status=status, answer=None, error=dict(error))
