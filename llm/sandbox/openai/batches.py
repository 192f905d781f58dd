"""Owns OpenAI's `/v1/batches`: create, retrieve, list, cancel, and working them off.

Invariant: every line of an accepted batch ends in exactly one line of its output or error file, however
the batch ends.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import OPENAI, Exchange, Handler
from llm.sandbox.openai.batch_lines import run_line, with_fault
from llm.sandbox.openai.chat import create_chat
from llm.sandbox.openai.completions import create_completion
from llm.sandbox.openai.embeddings import create_embeddings
from llm.sandbox.openai.files import file_of, page_of, store_file
from llm.sandbox.openai.responses import create_response
from llm.sandbox.state import Sandbox

HANDLERS: dict[str, Handler] = {
    "/v1/chat/completions": create_chat,
    "/v1/completions": create_completion,
    "/v1/embeddings": create_embeddings,
    "/v1/responses": create_response,
}
WINDOW_SECONDS = 24 * 3_600
MOST_LINES = 50_000
MOST_LISTED = 20
LINES_BETWEEN_PAUSES = 20
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
GOES_WRONG = ("expire", "fail_batch", "lose_results", "odd_results")
NEVER_RUN = {
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
}


@dataclass(slots=True)
class Batch:
    """A batch and how far it is."""

    id: str
    key: str
    endpoint: str
    input_file_id: str
    metadata: dict[str, Any] | None
    created_at: int
    fault: str = ""  # of those that make a batch go wrong
    status: str = "validating"
    lines: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    output: list[bytes] = field(default_factory=list)
    failures: list[bytes] = field(default_factory=list)
    usage: dict[str, int] = field(
        default_factory=lambda: {"input": 0, "cached": 0, "output": 0, "reasoning": 0}
    )
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def reach(self, status: str) -> None:
        """Enter a status and note when."""
        self.status = status
        self.times[f"{status}_at"] = int(time.time())

    def described(self) -> dict[str, Any]:
        """The batch object of the API."""
        moments = (
            "in_progress_at",
            "finalizing_at",
            "completed_at",
            "failed_at",
            "expired_at",
            "cancelling_at",
            "cancelled_at",
        )
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.created_at + WINDOW_SECONDS,
            "request_counts": {
                "total": len(self.lines),
                "completed": len(self.output),
                "failed": len(self.failures),
            },
            "usage": self._usage(),
            "metadata": self.metadata,
        } | {moment: self.times.get(moment) for moment in moments}

    def _usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self.usage["input"],
            "input_tokens_details": {"cached_tokens": self.usage["cached"], "cache_write_tokens": 0},
            "output_tokens": self.usage["output"],
            "output_tokens_details": {"reasoning_tokens": self.usage["reasoning"]},
            "total_tokens": self.usage["input"] + self.usage["output"],
        }


async def create_batch(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/batches."""
    body, sandbox = exchange.body, exchange.sandbox
    if body.get("endpoint") not in HANDLERS:
        known = ", ".join(f"'{path}'" for path in HANDLERS)
        message = f"Invalid value: '{body.get('endpoint')}'. Supported values are: {known}."
        raise ProviderError(400, message, param="endpoint", code="invalid_value")
    if body.get("completion_window") != "24h":
        raise ProviderError(
            400, "Invalid 'completion_window': only '24h' is supported.", param="completion_window"
        )
    if not isinstance(body.get("input_file_id"), str):
        raise ProviderError(400, "Missing required parameter: 'input_file_id'.", param="input_file_id")
    file = file_of(exchange, body["input_file_id"])
    if file.purpose != "batch":
        raise ProviderError(400, "The input file's purpose must be 'batch'.", param="input_file_id")
    batch = Batch(
        id=sandbox.ids.hexadecimal("batch_", length=32),
        key=exchange.call.key,
        endpoint=body["endpoint"],
        input_file_id=file.id,
        metadata=body.get("metadata"),
        created_at=int(time.time()),
        fault=next(filter(exchange.has_fault, GOES_WRONG), ""),
    )
    sandbox.batches[batch.id] = batch
    exchange.call.upstream_id = batch.id
    batch.task = asyncio.create_task(_work_off(sandbox, batch, file.content))
    return await exchange.answer(batch.described())


async def retrieve_batch(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/batches/{id}."""
    return await exchange.answer(_asked(exchange).described())


async def list_batches(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/batches, newest first."""
    batches = [
        batch.described() for batch in exchange.sandbox.batches.values() if batch.key == exchange.call.key
    ]
    return await exchange.answer(page_of(batches[::-1], exchange, most=MOST_LISTED))


async def cancel_batch(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/batches/{id}/cancel: what has run stays in the output file."""
    batch = _asked(exchange)
    if batch.status in ENDED:
        raise ProviderError(409, f"Cannot cancel a batch with status '{batch.status}'.", code="invalid_state")
    batch.reach("cancelling")
    return await exchange.answer(batch.described())


def _asked(exchange: Exchange) -> Batch:
    batch_id = exchange.request.match_info["batch_id"]
    batch = exchange.sandbox.batches.get(batch_id)
    if not isinstance(batch, Batch) or batch.key != exchange.call.key:
        raise ProviderError(404, f"No batch found with id '{batch_id}'.", code="not_found")
    return batch


async def _work_off(sandbox: Sandbox, batch: Batch, content: bytes) -> None:
    batch.lines, batch.errors = _validated(content, batch.endpoint)
    if batch.fault == "fail_batch":
        batch.errors = [
            {"code": "server_error", "message": "The batch could not be processed.", "line": None}
        ]
    if batch.errors:
        batch.lines = []
        batch.reach("failed")
        return
    models = {line["body"].get("model") for line in batch.lines}
    batch.model = models.pop() if len(models) == 1 else None
    if batch.status == "validating":
        batch.reach("in_progress")
    await asyncio.sleep(sandbox.settings.batch_delay_s)
    done = 0
    most = len(batch.lines) // 2 if batch.fault == "expire" else len(batch.lines)
    while batch.status == "in_progress" and done < most:
        await _run(sandbox, batch, batch.lines[done])
        done += 1
        if done % LINES_BETWEEN_PAUSES == 0:
            await asyncio.sleep(0)
    ending = (
        "cancelled" if batch.status == "cancelling" else "expired" if done < len(batch.lines) else "completed"
    )
    for line in batch.lines[done:]:
        code, message = NEVER_RUN[ending]
        batch.failures.append(_line(sandbox, line, response=None, error={"code": code, "message": message}))
    if ending != "cancelled":
        batch.reach("finalizing")
    batch.output_file_id = _file(sandbox, batch, "output", with_fault(batch.output, batch.fault))
    batch.error_file_id = _file(sandbox, batch, "error", with_fault(batch.failures, batch.fault))
    batch.reach(ending)


def _validated(content: bytes, endpoint: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of an input file, and what is wrong with them."""
    lines: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    for position, raw in enumerate(content.splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            line = orjson.loads(raw)
        except orjson.JSONDecodeError:
            line = None
        problem = _problem(line, endpoint, seen)
        if problem:
            code, message, param = problem
            errors.append({"code": code, "message": message, "param": param, "line": position})
        else:
            seen.add(line["custom_id"])
            lines.append(line)
    if not lines and not errors:
        errors.append(
            {"code": "empty_file", "message": "The input file is empty.", "param": None, "line": None}
        )
    if len(lines) > MOST_LINES:
        message = f"The input file may have at most {MOST_LINES} lines."
        errors.append({"code": "too_many_lines", "message": message, "param": None, "line": None})
    return lines, errors


def _problem(line: Any, endpoint: str, seen: set[str]) -> tuple[str, str, str | None] | None:
    if not isinstance(line, dict):
        return "invalid_json_line", "This line is not parseable as valid JSON.", None
    if not isinstance(line.get("custom_id"), str):
        return "missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id"
    if line["custom_id"] in seen:
        return "duplicate_custom_id", "The custom_id of this line is a duplicate.", "custom_id"
    if line.get("method") != "POST":
        return "invalid_method", "The method of this line must be 'POST'.", "method"
    if line.get("url") != endpoint:
        return "invalid_url", "The URL of this line does not match the batch's endpoint.", "url"
    if not isinstance(line.get("body"), dict):
        return "missing_required_parameter", "Missing required parameter: 'body'.", "body"
    return None


async def _run(sandbox: Sandbox, batch: Batch, line: dict[str, Any]) -> None:
    status, request_id, body = await run_line(
        sandbox,
        HANDLERS,
        kind=OPENAI,
        path=batch.endpoint,
        key=batch.key,
        batch_id=batch.id,
        custom_id=line["custom_id"],
        body=line["body"],
    )
    response = {"status_code": status, "request_id": request_id, "body": body}
    lines = batch.output if status == 200 else batch.failures
    lines.append(_line(sandbox, line, response=response, error=None))
    usage = body.get("usage") or {}
    batch.usage["input"] += usage.get("prompt_tokens", usage.get("input_tokens", 0))
    batch.usage["output"] += usage.get("completion_tokens", usage.get("output_tokens", 0))
    inputs = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    outputs = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    batch.usage["cached"] += inputs.get("cached_tokens", 0)
    batch.usage["reasoning"] += outputs.get("reasoning_tokens", 0)


def _line(sandbox: Sandbox, line: dict[str, Any], *, response: Any, error: Any) -> bytes:
    identifier = sandbox.ids.hexadecimal("batch_req_", length=32)
    entry = {"id": identifier, "custom_id": line["custom_id"], "response": response, "error": error}
    return orjson.dumps(entry) + b"\n"


def _file(sandbox: Sandbox, batch: Batch, name: str, lines: list[bytes]) -> str | None:
    if not lines:
        return None
    return store_file(
        sandbox,
        key=batch.key,
        filename=f"{batch.id}_{name}.jsonl",
        purpose="batch_output",
        content=b"".join(lines),
    ).id
