"""One HTTP call to a provider, whole or streamed.

Invariant: returns an answer or raises one ProviderFailure; a call that is cancelled closes its connection,
so that the provider stops. No retry here: each try is an attempt of its own, with its own hold.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

import aiohttp
import orjson

from config import resources
from llm.catalog import Target
from llm.providers.classify import error_of, failure_in_stream, failure_of, request_id_of
from llm.providers.outcomes import (
    ProviderError,
    ProviderFailure,
    ProviderTimeout,
    ProviderUnavailable,
    StreamBroken,
)
from llm.providers.outgoing import Outgoing, headers_for
from llm.streams.sse import SseSplitter, data_of

LARGEST_REPLY_BYTES = 64 * 1024 * 1024
LARGEST_ERROR_BYTES = 64 * 1024
FINISH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds: to connect, to the first byte, between two chunks, in all."""

    connect: float = 5.0
    first_byte: float = 300.0  # a reasoning model thinks in silence
    idle: float = 60.0
    total: float = 600.0

    @classmethod
    def of(cls, target: Target) -> "Timeouts":
        """The provider's own timeouts, the defaults where it has none."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: float(value) for name, value in target.timeouts.items() if name in names})


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """A whole answer: decoded, and as it came."""

    body: dict[str, Any]
    raw: bytes
    request_id: str
    seconds: float


class ProviderStream:
    """A stream whose first byte is here. `finish` it at its end or `close` it: either frees the connection."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        first: bytes,
        *,
        timeouts: Timeouts,
        deadline: float,
        began: float,
    ) -> None:
        self.request_id = request_id_of(response.headers)
        self.first_byte_seconds = time.perf_counter() - began
        self._response = response
        self._first = first
        self._idle_seconds = timeouts.idle
        self._deadline = deadline

    async def read(self) -> bytes:
        """Return bytes as they arrive, empty at the end, or raise StreamBroken."""
        if self._first:
            first, self._first = self._first, b""
            return first
        content = self._response.content
        try:
            if ready := content.read_nowait():  # a reader that is behind needs no timer
                return ready
            now = asyncio.get_running_loop().time()
            async with asyncio.timeout_at(min(now + self._idle_seconds, self._deadline)):
                return await content.readany()
        except TimeoutError:
            raise StreamBroken("The provider's stream stopped for too long.", timed_out=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise StreamBroken(f"The provider's stream broke off ({type(error).__name__}).") from None

    async def finish(self) -> None:
        """Read what follows the answer's end, so that the connection can serve another call."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Free the connection, cut off if there is more to come. May be called twice."""
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


async def call(
    target: Target,
    body: Outgoing,
    *,
    path: str,
    headers: Mapping[str, str] = {},
    timeouts: Timeouts | None = None,
) -> ProviderReply:
    """Send a request and return its whole answer, or raise a ProviderFailure."""
    timeouts = timeouts or Timeouts.of(target)
    began = time.perf_counter()
    async with _failures(target, body):
        async with asyncio.timeout(timeouts.total):
            response = await _post(
                target, body, path=path, headers=headers, timeouts=timeouts, streamed=False
            )
            async with response:
                raw = await _read(response, LARGEST_REPLY_BYTES, timeouts=timeouts)
    request_id = request_id_of(response.headers)
    try:
        decoded = orjson.loads(raw)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise ProviderError(
            f"{target.provider} answered with something that is not a JSON object.",
            retryable=True,
            may_be_billed=True,
            upstream_status=response.status,
            upstream_request_id=request_id,
        )
    return ProviderReply(decoded, raw, request_id, time.perf_counter() - began)


async def ask(target: Target, method: str, path: str, *, query: str = "") -> bytes:
    """Ask for something that costs nothing, such as a kept response: its bytes, or raise a ProviderFailure."""
    timeouts = Timeouts.of(target)
    async with _failures(target):
        response = await resources.http.request(
            method,
            url_of(target, path) + (f"?{query}" if query else ""),
            headers=headers_for(target, {}, streamed=False),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeouts.total, sock_connect=timeouts.connect),
        )
        async with response:
            told = await _read(response, LARGEST_REPLY_BYTES, timeouts=timeouts)
    if response.status != 200:
        raise failure_of(
            response.status, told, response.headers, provider=target.provider, api_key=target.api_key
        )
    return told


async def open_stream(
    target: Target,
    body: Outgoing,
    *,
    path: str,
    headers: Mapping[str, str] = {},
    timeouts: Timeouts | None = None,
) -> ProviderStream:
    """Send a request and return its stream once the first byte is here, or raise a ProviderFailure."""
    timeouts = timeouts or Timeouts.of(target)
    began = time.perf_counter()
    deadline = asyncio.get_running_loop().time() + timeouts.total
    async with _failures(target, body):
        async with asyncio.timeout(min(timeouts.first_byte + timeouts.connect, timeouts.total)):
            response = await _post(target, body, path=path, headers=headers, timeouts=timeouts, streamed=True)
            try:
                first = await response.content.readany()
            except BaseException:
                response.close()
                raise
    try:
        _check_first_bytes(target, response, first)
    except ProviderFailure:
        response.close()
        raise
    return ProviderStream(response, first, timeouts=timeouts, deadline=deadline, began=began)


def url_of(target: Target, path: str) -> str:
    """The address of a call. A base URL may end in the version that Anthropic's paths begin with."""
    base = target.base_url.rstrip("/")
    if path.startswith("/v1/") and base.endswith("/v1"):
        path = path.removeprefix("/v1")
    return base + path


async def _post(
    target: Target,
    body: Outgoing,
    *,
    path: str,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    streamed: bool,
) -> aiohttp.ClientResponse:
    response = await resources.http.post(
        url_of(target, path),
        data=body,
        headers=headers_for(target, headers, streamed=streamed),
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(
            connect=timeouts.connect,  # with looking up the name
            sock_connect=timeouts.connect,
            sock_read=None if streamed else timeouts.first_byte,
        ),
    )
    if response.status != 200:
        async with response:
            told = await _read(response, LARGEST_ERROR_BYTES, timeouts=timeouts)
        raise failure_of(
            response.status, told, response.headers, provider=target.provider, api_key=target.api_key
        )
    return response


async def _read(response: aiohttp.ClientResponse, limit: int, *, timeouts: Timeouts) -> bytes:
    """The whole body: its first byte may take as long as a first byte may, each further one as long as a pause may."""
    pieces = []
    size = 0
    patience = timeouts.first_byte
    while piece := await _next_piece(response.content, patience):
        pieces.append(piece)
        size += len(piece)
        patience = timeouts.idle
        if size > limit:
            raise ProviderError("The provider's answer is larger than the gateway takes.", may_be_billed=True)
    return b"".join(pieces)


async def _next_piece(content: aiohttp.StreamReader, seconds: float) -> bytes:
    if ready := content.read_nowait():  # what is here already needs no timer
        return ready
    async with asyncio.timeout(seconds):
        return await content.readany()


@asynccontextmanager
async def _failures(target: Target, body: Outgoing | None = None) -> AsyncIterator[None]:
    """Turn what aiohttp raises before the first byte into our outcomes. Without a body nothing can be billed."""
    name = target.provider
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise ProviderTimeout(f"{name} could not be reached in time.", retryable=True, sent=False) from None
    except aiohttp.ClientConnectorError:
        raise ProviderUnavailable(f"{name} could not be reached.", retryable=True, sent=False) from None
    except TimeoutError:
        raise ProviderTimeout(f"{name} did not answer in time.", retryable=True, **_reach(body)) from None
    except ValueError:
        if body is not None and body.is_sent:
            raise
        # an address or a key of which no request can be made: the next try would find the same
        raise ProviderUnavailable(
            f"{name} cannot be asked: its address or key is wrong.", sent=False
        ) from None
    except (aiohttp.ClientError, OSError):
        raise ProviderUnavailable(
            f"{name} closed the connection before it answered.", retryable=True, **_reach(body)
        ) from None


def _reach(body: Outgoing | None) -> dict[str, Any]:
    """How far a request came that failed: a body of which nothing left was not sent, and owes nothing."""
    is_sent = body is not None and body.is_sent
    return {"sent": is_sent or body is None, "may_be_billed": is_sent}


def _check_first_bytes(target: Target, response: aiohttp.ClientResponse, first: bytes) -> None:
    """Refuse a 200 that is no stream, or whose first event is an error: nothing was forwarded yet."""
    request_id = request_id_of(response.headers)
    if not first or response.content_type == "application/json":
        raise ProviderError(
            f"{target.provider} answered without a stream.",
            retryable=True,
            may_be_billed=bool(first),
            upstream_status=response.status,
            upstream_request_id=request_id,
        )
    if b'"error"' in first[:400]:
        event = next(iter(SseSplitter().feed(first)), b"")
        data = data_of(event)
        if data.startswith(b'{"error"') or b'"type":"error"' in data.replace(b" ", b""):
            raise failure_in_stream(
                error_of(data),
                provider=target.provider,
                api_key=target.api_key,
                upstream_request_id=request_id,
            )
