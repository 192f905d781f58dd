"""Owns the life of one call: received, logged, perhaps made to fail, answered at the ordered pace, billed.

Invariant: whatever happens to the connection, the call's log entry is closed exactly once, with what was produced
until then on the invoice.
"""

import asyncio
import functools
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.calls import Call, key_digest
from llm.sandbox.errors import ProviderError
from llm.sandbox.faults import Fault
from llm.sandbox.state import Sandbox
from llm.sandbox.usage import Usage

SANDBOX: web.AppKey[Sandbox] = web.AppKey("sandbox", Sandbox)
OPENAI, ANTHROPIC = "openai", "anthropic"
WRITE_BYTES = 4_096
SHORTEST_SLEEP_SECONDS = 0.02
TIMEOUT_MS, SLOW_MS, DRIP_MS = 600_000.0, 2_000.0, 200.0
AFTER_CHUNKS = 3
BREAKING = frozenset({"disconnect", "truncate_stream", "malformed", "error_event"})
CLIENT_GONE = 499

Event = tuple[bytes, int]  # what goes over the wire, and how many output tokens it carries
Handler = Callable[["Exchange"], Awaitable[web.StreamResponse]]


class Aborted(Exception):
    """The sandbox broke the connection on purpose."""


class Exchange:
    """One call in flight."""

    def __init__(self, request: web.Request, *, kind: str, raw: bytes) -> None:
        self.sandbox = request.app[SANDBOX]
        self.request = request
        self.kind = kind
        self.raw = raw
        self.body: dict[str, Any] = {}
        self.fault: Fault | None = None
        self.started = time.perf_counter()
        headers = request.headers
        authorization = headers.get("Authorization", "")
        self.key = (
            authorization[7:] if authorization[:7].lower() == "bearer " else headers.get("x-api-key", "")
        )
        ids = self.sandbox.ids
        self.request_id = ids.anthropic("req_") if kind == ANTHROPIC else ids.hexadecimal("req_", length=32)
        retries = headers.get("x-stainless-retry-count", "0")
        self.call = Call(
            id=ids.hexadecimal("call_", length=24),
            at=time.time(),
            kind=kind,
            method=request.method,
            path=request.path,
            key=_cached_digest(self.key),
            body_digest=hashlib.blake2b(raw, digest_size=12).hexdigest() if raw else "",
            idempotency_key=headers.get("idempotency-key", ""),
            retry_count=int(retries) if retries.isdigit() else 0,
            request_id=self.request_id,
        )
        self.requests_this_minute = 0

    def read_json(self) -> None:
        """Parse the body and note in the log what it is about; raises 400."""
        try:
            body = orjson.loads(self.raw)
        except orjson.JSONDecodeError as error:
            raise ProviderError(400, "We could not parse the JSON body of your request.") from error
        if not isinstance(body, dict):
            raise ProviderError(400, "The body of the request must be a JSON object.")
        self.body = body
        self.note(body)

    def note(self, body: dict[str, Any]) -> None:
        """Write into the log what a body is about."""
        call = self.call
        metadata = body.get("metadata")
        call.model = body["model"] if isinstance(body.get("model"), str) else ""
        call.stream = body.get("stream") is True
        call.metadata = metadata if isinstance(metadata, dict) else {}
        call.user = str(body.get("user") or call.metadata.get("user_id") or "")
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
        call.max_tokens = limit if isinstance(limit, int) else None

    def facts(self) -> dict[str, Any]:
        """What faults are matched against."""
        call = self.call
        return {
            "model": call.model,
            "path": call.path,
            "key": call.key,
            "stream": call.stream,
            "tags": call.tags(),
        }

    def has_fault(self, name: str) -> bool:
        """Whether this call was ordered to go wrong in this way."""
        return self.fault is not None and self.fault.name == name

    async def fail_if_ordered(self) -> None:
        """Take the fault meant for this call; those that come before any answer happen here."""
        if not self.sandbox.faults:
            return
        self.fault = fault = self.sandbox.faults.take(self.facts(), self.raw)
        if fault is None:
            return
        self.call.fault = fault.name
        if fault.billed:
            return  # happens once the answer is made, in `answer` or `stream`
        await self.refuse_if_ordered()

    async def refuse_if_ordered(self) -> None:
        """Carry out a fault that gives no answer at all."""
        fault = self.fault
        if fault is None:
            return
        if fault.status:
            if fault.delay_ms:
                await asyncio.sleep(fault.delay_ms / 1000)
            raise self.ordered_error(fault.status)
        if fault.name == "overload":
            raise self.ordered_error(529 if self.kind == ANTHROPIC else 503)
        if fault.name == "timeout":
            await asyncio.sleep(fault.delay_seconds(TIMEOUT_MS))
            self.abort()
        if fault.name == "reset":
            self.abort()

    def ordered_error(self, status: int) -> ProviderError:
        """The error that a fault describes."""
        fault = self.fault
        assert fault is not None
        return ProviderError(status, fault.message or "", code=fault.code, retry_after=fault.retry_after)

    def abort(self) -> None:
        """Break the connection without another byte."""
        if self.request.transport is not None:
            self.request.transport.abort()
        raise Aborted

    async def answer(
        self, payload: dict[str, Any], *, usage: Usage | None = None, tokens: int = 0
    ) -> web.StreamResponse:
        """Send a plain answer after the time that so many output tokens take; billed even if nobody waits for it."""
        reported = payload.get("usage")
        if usage is not None and isinstance(reported, dict):
            self.call.bill(usage, reported)
        await self.refuse_if_ordered()
        await self._wait(self._latency() + self._duration(tokens))
        if self.has_fault("missing_usage"):
            payload = {name: value for name, value in payload.items() if name != "usage"}
        content = orjson.dumps(payload)
        if self.fault is not None:
            return await self._faulty_answer(content)
        return web.Response(body=content, headers=self.headers("application/json"))

    async def stream(
        self,
        events: Iterable[Event],
        *,
        bill: Callable[[int, bool], None],
        error_event: bytes,
    ) -> web.StreamResponse:
        """Send events at the ordered pace; `bill` is told the tokens produced and whether that was all."""
        produced, is_complete = 0, False
        if self.fault is not None and self.fault.billed:
            bill(produced, True)
        await self.refuse_if_ordered()
        try:
            await self._wait(self._latency())
            response = web.StreamResponse(headers=self.headers("text/event-stream; charset=utf-8"))
            await response.prepare(self.request)
            if self.fault is not None and self.fault.name == "slow_first_byte":
                await asyncio.sleep(self.fault.delay_seconds(SLOW_MS))
            break_at = self._break_at()
            drip_seconds = self.fault.delay_seconds(DRIP_MS) if self.fault and self.has_fault("drip") else 0.0
            pace = self.sandbox.settings.tokens_per_second
            started = time.perf_counter()
            chunks = 0
            waiting = bytearray()
            for data, tokens in events:
                if tokens and chunks == break_at:
                    if waiting:
                        await response.write(bytes(waiting))
                        waiting.clear()
                    if await self._break_stream(response, error_event):
                        return response
                waiting += data
                produced += tokens
                chunks += tokens > 0
                pause = drip_seconds
                if pace and not pause:
                    pause = produced / pace - (time.perf_counter() - started)
                if pause > SHORTEST_SLEEP_SECONDS or len(waiting) >= WRITE_BYTES:
                    await response.write(bytes(waiting))
                    waiting.clear()
                    await asyncio.sleep(max(0.0, pause))
            is_complete = True
            await response.write_eof(bytes(waiting))
            return response
        finally:
            bill(produced, is_complete)

    def headers(self, content_type: str) -> dict[str, str]:
        """The headers every answer of the provider carries."""
        limit = self.sandbox.settings.requests_per_minute or 10_000
        left = str(max(0, limit - self.requests_this_minute))
        if self.kind == ANTHROPIC:
            return {
                "Content-Type": content_type,
                "request-id": self.request_id,
                "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
                "anthropic-ratelimit-requests-limit": str(limit),
                "anthropic-ratelimit-requests-remaining": left,
                "anthropic-ratelimit-requests-reset": _next_minute(),
            }
        return {
            "Content-Type": content_type,
            "x-request-id": self.request_id,
            "openai-organization": "sandbox",
            "openai-processing-ms": str(int((time.perf_counter() - self.started) * 1000)),
            "openai-version": "2020-10-01",
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": left,
            "x-ratelimit-reset-requests": "60s",
        }

    def error_response(self, error: ProviderError) -> web.Response:
        """An error in the provider's envelope."""
        headers = self.headers("application/json")
        if error.retry_after is not None:
            headers["retry-after"] = str(max(0, -int(-error.retry_after // 1)))
            headers["retry-after-ms"] = str(int(error.retry_after * 1000))
        return web.Response(
            status=error.status, body=orjson.dumps(error.body(self.kind, self.request_id)), headers=headers
        )

    async def _break_stream(self, response: web.StreamResponse, error_event: bytes) -> bool:
        """Carry out a fault in the middle of a stream; true when the stream ends with it."""
        name = self.fault.name if self.fault else ""
        if name == "malformed":
            await response.write(b'data: {"id":"broken","choices":[{"index":0,"delta":{"cont\n\n')
            return False
        if name == "disconnect":
            self.abort()
        if name == "error_event":
            await response.write(error_event)
        await response.write_eof()
        return True

    def _break_at(self) -> int:
        """After how many chunks with tokens the ordered fault strikes; -1 for never."""
        if self.fault is None or self.fault.name not in BREAKING:
            return -1
        return AFTER_CHUNKS if self.fault.after_chunks is None else self.fault.after_chunks

    async def _faulty_answer(self, content: bytes) -> web.StreamResponse:
        fault = self.fault
        assert fault is not None
        if fault.name == "disconnect":
            self.abort()
        if fault.name == "malformed":
            content = content[: len(content) // 2]
        if fault.name in ("truncate_stream", "drip", "slow_first_byte"):
            return await self._slow_or_broken_answer(content, fault)
        if fault.name == "error_event":
            raise ProviderError(500, fault.message or "", code=fault.code)
        return web.Response(body=content, headers=self.headers("application/json"))

    async def _slow_or_broken_answer(self, content: bytes, fault: Fault) -> web.StreamResponse:
        response = web.StreamResponse(headers=self.headers("application/json"))
        response.content_length = len(content)
        await response.prepare(self.request)
        if fault.name == "slow_first_byte":
            await asyncio.sleep(fault.delay_seconds(SLOW_MS))
            await response.write(content)
        elif fault.name == "truncate_stream":
            await response.write(content[: len(content) // 2])
            await asyncio.sleep(0.05)  # let the half reach the client before the connection breaks
            self.abort()
        else:
            step = max(1, len(content) // 10)
            for start in range(0, len(content), step):
                await response.write(content[start : start + step])
                await asyncio.sleep(fault.delay_seconds(DRIP_MS))
        await response.write_eof()
        return response

    def _latency(self) -> float:
        latency = self.sandbox.settings.latency_ms / 1000
        return latency + (
            self.fault.delay_seconds(SLOW_MS) if self.fault and self.fault.name == "slow" else 0
        )

    def _duration(self, tokens: int) -> float:
        pace = self.sandbox.settings.tokens_per_second
        return tokens / pace if pace else 0.0

    @staticmethod
    async def _wait(seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)


def endpoint(
    handler: Handler, *, kind: str, has_json: bool = True
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """An aiohttp handler that runs a call of a provider's API through its whole life."""

    async def serve(request: web.Request) -> web.StreamResponse:
        raw = await request.read() if has_json else b""
        exchange = Exchange(request, kind=kind, raw=raw)
        sandbox, call = exchange.sandbox, exchange.call
        sandbox.calls.begin(call)
        sandbox.running[call.key] += 1
        status, outcome = CLIENT_GONE, "disconnected"
        try:
            if has_json:
                exchange.read_json()
            await exchange.fail_if_ordered()
            if not exchange.key:
                raise ProviderError(401, "You didn't provide an API key.", code=_missing_key_code(kind))
            exchange.requests_this_minute = sandbox.count_request(call.key)
            response = await handler(exchange)
            status, outcome = response.status, "completed"
            if exchange.fault is not None and exchange.fault.name in BREAKING:
                outcome = "broken"
            return response
        except ProviderError as error:
            status, outcome = error.status, "failed"
            return exchange.error_response(error)
        except Aborted:
            status, outcome = 200, "broken"
            return web.Response()  # never sent: the connection is gone
        finally:
            sandbox.running[call.key] -= 1
            if not sandbox.running[call.key]:
                del sandbox.running[call.key]
            sandbox.calls.finish(call, status=status, outcome=outcome)

    return serve


def _missing_key_code(kind: str) -> str | None:
    return None if kind == ANTHROPIC else "invalid_api_key"


@functools.lru_cache(maxsize=10_000)
def _cached_digest(key: str) -> str:
    return key_digest(key)


def _next_minute() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() // 60 * 60 + 60))
