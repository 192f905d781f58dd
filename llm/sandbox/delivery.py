"""Owns how an answer leaves over HTTP: at the ordered pace, broken where a fault says so.

Invariant: the call's log entry is closed exactly once, however the connection ends, with what was
produced until then on the invoice.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn

import orjson
from aiohttp import web

from llm.sandbox.behaviours import Behaviour
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, OPENAI, Bill, Event, Exchange, Handler
from llm.sandbox.faults import Fault
from llm.sandbox.state import Sandbox
from llm.sandbox.usage import Usage
from llm.tokens import counting as tokens

SANDBOX: web.AppKey[Sandbox] = web.AppKey("sandbox", Sandbox)
WRITE_BYTES = 4_096
SHORTEST_SLEEP_SECONDS = 0.02
TIMEOUT_MS, SLOW_MS, DRIP_MS = 600_000.0, 2_000.0, 200.0
AFTER_CHUNKS = 3
BREAKING = frozenset({"disconnect", "truncate_stream", "malformed", "error_event"})
MALFORMED_EVENT = b'data: {"id":"broken","choices":[{"index":0,"delta":{"cont\n\n'
CLIENT_GONE = 499
COUNTS = {
    "chat": tokens.count_chat,
    "messages": tokens.count_messages,
    "responses": tokens.count_responses,
}
ID_PREFIXES = {"chat": "chatcmpl-", "messages": "msg_", "responses": "resp_"}


class Aborted(Exception):
    """The sandbox broke the connection on purpose."""


class HttpExchange(Exchange):
    """A call that came over HTTP and is answered there."""

    def __init__(self, request: web.Request, *, kind: str, raw: bytes) -> None:
        headers = request.headers
        authorization = headers.get("Authorization", "")
        other_key = headers.get("x-api-key") or headers.get("api-key") or ""
        key = authorization[7:] if authorization[:7].lower() == "bearer " else other_key
        super().__init__(
            request.app[SANDBOX],
            kind=kind,
            method=request.method,
            path=request.path,
            key=key.strip(),
            raw=raw,
        )
        self._request = request
        self._started = time.perf_counter()
        self._requests_this_minute = 0
        self._has_begun = False
        self._has_begun = False
        retries = headers.get("x-stainless-retry-count", "")
        self.call.retry_count = int(retries) if retries.isdigit() else 0
        self.call.idempotency_key = headers.get("idempotency-key", "")
        self.call.betas = headers.get(f"{kind}-beta", "")

    @property
    def request(self) -> web.Request:
        """The HTTP request."""
        return self._request

    async def serve(self, handler: Handler, *, has_json: bool) -> web.StreamResponse:
        """Run the call: parse, take its fault, check the key, answer; raises ProviderError and Aborted."""
        if has_json:
            self.read_json()
        self.take_fault()
        if self.fault is None or not self.fault.billed:
            await self._fail_if_ordered()
        if not self.key:
            code = None if self.kind == ANTHROPIC else "invalid_api_key"
            raise ProviderError(401, "You didn't provide an API key.", code=code)
        self._requests_this_minute = self.sandbox.count_request(self.call.key)
        behaviour = self.fault.behaviour if self.fault else None
        if behaviour is not None:
            return await self._behave(behaviour)
        try:
            return await handler(self)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            if self._has_begun:
                raise
            raise ProviderError(400, "The body of the request makes no sense here.") from error

    async def answer(
        self, payload: dict[str, Any], *, usage: Usage | None = None, tokens: int = 0
    ) -> web.StreamResponse:
        """Send a plain answer after the time that so many output tokens take; billed even if the client is gone."""
        self.bill(payload, usage)
        await self._fail_if_ordered()
        pace = self.sandbox.settings.tokens_per_second
        await self._wait(self._latency() + (tokens / pace if pace else 0.0))
        if self.has_fault("missing_usage"):
            payload = {name: value for name, value in payload.items() if name != "usage"}
        content = orjson.dumps(payload)
        if self.fault is not None:
            return await self._faulty_answer(content, self.fault)
        return web.Response(body=content, headers=self.headers("application/json"))

    async def stream(self, events: Iterable[Event], *, bill: Bill, error_event: bytes) -> web.StreamResponse:
        """Send events at the ordered pace; billed is what was produced, however the stream ends."""
        produced, is_complete = 0, False
        if self.fault is not None and self.fault.billed:
            bill(produced, True)
        await self._fail_if_ordered()
        try:
            await self._wait(self._latency())
            self._has_begun = True
            response = web.StreamResponse(headers=self.headers("text/event-stream; charset=utf-8"))
            await response.prepare(self.request)
            if self.fault is not None and self.fault.name == "slow_first_byte":
                await asyncio.sleep(self.fault.delay_seconds(SLOW_MS))
            break_at = self._break_at()
            drip_seconds = self._drip_seconds()
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
                if drip_seconds or pause > SHORTEST_SLEEP_SECONDS or len(waiting) >= WRITE_BYTES:
                    await response.write(bytes(waiting))
                    waiting.clear()
                    await asyncio.sleep(max(0.0, pause))
            is_complete = True
            await response.write_eof(bytes(waiting))
            return response
        finally:
            bill(produced, is_complete)

    async def _behave(self, behaviour: Behaviour) -> web.StreamResponse:
        """Answer as the server in the catalogue does, and bill what it bills."""
        call, body = self.call, self.body
        count = COUNTS[behaviour.protocol]
        input_tokens = count(body, call.model)
        call.upstream_id = self.sandbox.ids.hexadecimal(ID_PREFIXES[behaviour.protocol])
        call.billed = {
            meter: quantity
            for meter, quantity in behaviour.billed(input_tokens=input_tokens, is_stream=call.stream).items()
            if quantity
        }
        script = behaviour.scripts[call.stream]
        content = script.rendered(input_tokens=input_tokens, upstream_id=call.upstream_id, model=call.model)
        await self._wait(self._latency())
        self._has_begun = True
        response = web.StreamResponse(status=script.status, headers=self.headers(script.content_type))
        await response.prepare(self.request)
        for piece in script.pieces(content):
            await response.write(piece)
            if script.pause_ms or script.write_bytes:
                await asyncio.sleep(script.pause_ms / 1000)
        if script.is_cut:
            await asyncio.sleep(SHORTEST_SLEEP_SECONDS)
            self._abort()
        await response.write_eof()
        return response

    def headers(self, content_type: str) -> dict[str, str]:
        """The headers every answer of the provider carries."""
        limit = self.sandbox.settings.requests_per_minute or 10_000
        left = str(max(0, limit - self._requests_this_minute))
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
            "openai-processing-ms": str(int((time.perf_counter() - self._started) * 1000)),
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
        body = orjson.dumps(error.body(self.kind, self.request_id))
        return web.Response(status=error.status, body=body, headers=headers)

    async def _fail_if_ordered(self) -> None:
        """Carry out a fault that gives no answer at all."""
        fault = self.fault
        if fault is None:
            return
        status = fault.status_for(overloaded=529 if self.kind == ANTHROPIC else 503)
        if status:
            await self._wait((fault.delay_ms or 0.0) / 1000)
            raise fault.error(status)
        if fault.name == "timeout":
            await asyncio.sleep(fault.delay_seconds(TIMEOUT_MS))
            self._abort()
        if fault.name == "reset":
            self._abort()

    def _abort(self) -> NoReturn:
        """Break the connection without another byte."""
        if self.request.transport is not None:
            self.request.transport.abort()
        raise Aborted

    async def _break_stream(self, response: web.StreamResponse, error_event: bytes) -> bool:
        """Carry out a fault in the middle of a stream; true when the stream ends with it."""
        if self.has_fault("malformed"):
            await response.write(MALFORMED_EVENT)
            return False
        if self.has_fault("disconnect"):
            await asyncio.sleep(SHORTEST_SLEEP_SECONDS)  # let what was written reach the client first
            self._abort()
        if self.has_fault("error_event"):
            await response.write(error_event)
        await response.write_eof()
        return True

    def _break_at(self) -> int:
        """After how many chunks with tokens the ordered fault strikes; -1 for never."""
        if self.fault is None or self.fault.name not in BREAKING:
            return -1
        return AFTER_CHUNKS if self.fault.after_chunks is None else self.fault.after_chunks

    def _drip_seconds(self) -> float:
        """How long to wait after each event; 0 for the ordered pace."""
        if self.fault is not None and self.has_fault("ignore_max_tokens"):
            return self.fault.delay_seconds(0.0)
        return self.fault.delay_seconds(DRIP_MS) if self.fault and self.has_fault("drip") else 0.0

    async def _faulty_answer(self, content: bytes, fault: Fault) -> web.StreamResponse:
        if fault.name == "disconnect":
            self._abort()
        if fault.name == "error_event":
            raise fault.error(500)
        if fault.name == "malformed":
            content = content[: len(content) // 2]
        if fault.name not in ("truncate_stream", "drip", "slow_first_byte"):
            return web.Response(body=content, headers=self.headers("application/json"))
        response = web.StreamResponse(headers=self.headers("application/json"))
        response.content_length = len(content)
        await response.prepare(self.request)
        if fault.name == "slow_first_byte":
            await asyncio.sleep(fault.delay_seconds(SLOW_MS))
            await response.write(content)
        elif fault.name == "truncate_stream":
            await response.write(content[: len(content) // 2])
            await asyncio.sleep(SHORTEST_SLEEP_SECONDS)
            self._abort()
        else:
            step = max(1, len(content) // 10)
            for start in range(0, len(content), step):
                await response.write(content[start : start + step])
                await asyncio.sleep(fault.delay_seconds(DRIP_MS))
        await response.write_eof()
        return response

    def _latency(self) -> float:
        latency = self.sandbox.settings.latency_ms / 1000
        return latency + (self.fault.delay_seconds(SLOW_MS) if self.fault and self.has_fault("slow") else 0.0)

    @staticmethod
    async def _wait(seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)


def endpoint(
    handler: Handler, *, kind: str | None = None, has_json: bool = True
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """An aiohttp handler that runs a call through its whole life; without a kind the headers say which."""

    async def serve(request: web.Request) -> web.StreamResponse:
        raw = await request.read() if has_json else b""
        exchange = HttpExchange(request, kind=kind or _kind_of(request), raw=raw)
        sandbox, call = exchange.sandbox, exchange.call
        sandbox.running[call.key] += 1
        status, outcome = CLIENT_GONE, "disconnected"
        try:
            response = await exchange.serve(handler, has_json=has_json)
            status = response.status
            outcome = "broken" if exchange.fault and exchange.fault.name in BREAKING else "completed"
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


def _kind_of(request: web.Request) -> str:
    return ANTHROPIC if "anthropic-version" in request.headers else OPENAI


def _next_minute() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() // 60 * 60 + 60))
