"""One HTTP call to a provider, whole or streamed.

Invariant: returns an answer or raises one ProviderFailure; a call that is cancelled closes its connection,
so that the provider stops. No retry here: each try is an attempt of its own, with its own hold.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, fields
from functools import lru_cache
from typing import Any, Final, TypedDict

import aiohttp

from config import resources
from config.alarm import Alarm
from config.values import value_type
from llm.providers.classify import failure_of, request_id_of
from llm.providers.errors import (
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    StreamBroken,
)
from llm.providers.outgoing import Outgoing, headers_for
from llm.providers.received import Opening, Received, Sender, whole_answer
from llm.providers.target import Target
from llm.wire.formats import WireFormat

LARGEST_REPLY_BYTES = 64 * 1024 * 1024
LARGEST_ERROR_BYTES = 64 * 1024
FINISH_SECONDS = 1.0
# so long may a stream send keep-alives only, before the client gets one, too
KEEP_ALIVE_SECONDS = 10.0


@value_type
class Timeouts:
    """Seconds: to connect, to the first byte, between two chunks, in all."""

    _: KW_ONLY
    connect: float = 5.0
    first_byte: float = 300.0  # a reasoning model thinks in silence
    idle: float = 60.0
    total: float = 600.0

    @classmethod
    def of(cls, target: Target) -> "Timeouts":
        """The provider's own timeouts, the defaults where it has none."""
        if not target.timeouts:
            return _USUAL
        names = {field.name for field in fields(cls)}
        return cls(**{name: float(value) for name, value in target.timeouts.items() if name in names})


_USUAL: Final = Timeouts()


class _Patience:
    """How long one call is waited for, on the event loop's clock."""

    __slots__ = ("ends_at", "timeouts")

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.ends_at = asyncio.get_running_loop().time() + timeouts.total

    def lasting(self, seconds: float) -> asyncio.Timeout:
        """For the next step, which may take so long."""
        return asyncio.timeout_at(min(asyncio.get_running_loop().time() + seconds, self.ends_at))


@value_type
class ProviderReply:
    """A whole answer: decoded, and as it may be passed on. `is_exact`: it may be kept and replayed."""

    body: dict[str, Any]
    raw: bytes
    request_id: str
    seconds: float
    is_exact: bool = True


class ProviderStream:
    """A stream that has begun to say something. `finish` it at its end or `close` it: either frees the connection.

    Where the provider answered whole, `whole` is that answer, and there is nothing to read.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        first: bytes,
        *,
        patience: _Patience,
        began: float,
    ) -> None:
        self.request_id = request_id_of(response.headers)
        self.first_byte_seconds = time.perf_counter() - began
        self._response = response
        self._first = first
        self._alarm = Alarm(self._give_up)
        self._idle_seconds, self._ends_at = patience.timeouts.idle, patience.ends_at
        self._is_late = False
        self.whole: Received | None = None

    def unread(self, read: bytes) -> None:
        """Let what was read be read again."""
        self._first = read

    async def read(self) -> bytes:
        """Return bytes as they arrive, empty at the end, or raise StreamBroken."""
        if self.whole is not None:
            return b""
        if self._first:
            first, self._first = self._first, b""
            return first
        self._alarm.set(self._idle_seconds, latest=self._ends_at)
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            if self._is_late:
                raise StreamBroken("The provider's stream stopped for too long.", timed_out=True) from None
            raise StreamBroken(f"The provider's stream broke off ({type(error).__name__}).") from None
        finally:
            self._alarm.clear()

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

    def _give_up(self) -> None:
        """It is waited for no longer: who reads it finds it broken."""
        self._is_late = True
        self._response.content.set_exception(aiohttp.ServerTimeoutError())

    def close(self) -> None:
        """Free the connection, cut off if there is more to come. May be called twice."""
        self._alarm.close()
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


async def call(
    target: Target,
    body: Outgoing,
    *,
    wire: WireFormat,
    headers: Mapping[str, str] = {},
    timeouts: Timeouts | None = None,
) -> ProviderReply:
    """Send a request and return its whole answer, or raise a ProviderFailure."""
    patience = _Patience(timeouts or Timeouts.of(target))
    began = time.perf_counter()
    with _failures(target, body):
        response = await _post(
            target, body, path=wire.path, headers=headers, patience=patience, streamed=False
        )
        async with response:
            raw = await _read(response, LARGEST_REPLY_BYTES, patience=patience)
    received = whole_answer(raw, Sender(target, wire, response.headers))
    seconds = time.perf_counter() - began
    return ProviderReply(
        received.body, received.raw, request_id_of(response.headers), seconds, received.is_exact
    )


async def ask(target: Target, method: str, path: str, *, query: str = "") -> bytes:
    """Ask for something that costs nothing, such as a kept response: its bytes, or raise a ProviderFailure."""
    patience = _Patience(Timeouts.of(target))
    with _failures(target):
        response = await resources.http.request(
            method,
            _with_query(target.url(path), query),
            headers=headers_for(target, {}, streamed=False),
            allow_redirects=False,
            timeout=_limits(patience.timeouts, streamed=False),
        )
        async with response:
            content = await _read(response, LARGEST_REPLY_BYTES, patience=patience)
    if response.status != 200:
        raise failure_of(
            response.status, content, response.headers, provider=target.provider, api_key=target.api_key
        )
    return content


async def open_stream(
    target: Target,
    body: Outgoing,
    *,
    wire: WireFormat,
    headers: Mapping[str, str] = {},
    timeouts: Timeouts | None = None,
) -> ProviderStream:
    """Send a request and return its stream once it says something, or raise a ProviderFailure."""
    patience = _Patience(timeouts or Timeouts.of(target))
    began = time.perf_counter()
    with _failures(target, body):
        async with patience.lasting(patience.timeouts.connect + patience.timeouts.first_byte):
            response = await _post(
                target, body, path=wire.path, headers=headers, patience=patience, streamed=True
            )
            try:
                first = await response.content.readany()
            except BaseException:
                response.close()
                raise
    stream = ProviderStream(response, first, patience=patience, began=began)
    try:
        with _failures(target, body):
            await _await_a_word(stream, response, Sender(target, wire, response.headers), patience=patience)
    except BaseException:
        stream.close()
        raise
    return stream


def _with_query(url: str, query: str) -> str:
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{query}"


async def _post(
    target: Target,
    body: Outgoing,
    *,
    path: str,
    headers: Mapping[str, str],
    patience: _Patience,
    streamed: bool,
) -> aiohttp.ClientResponse:
    response = await resources.http.post(
        target.url(path, streamed=streamed),
        data=body,
        headers=headers_for(target, headers, streamed=streamed),
        allow_redirects=False,
        timeout=_limits(patience.timeouts, streamed=streamed),
    )
    if response.status != 200:
        async with response:
            content = await _read(response, LARGEST_ERROR_BYTES, patience=patience)
        raise failure_of(
            response.status, content, response.headers, provider=target.provider, api_key=target.api_key
        )
    return response


@lru_cache(maxsize=128)
def _limits(timeouts: Timeouts, *, streamed: bool) -> aiohttp.ClientTimeout:
    """aiohttp's timers, which cost less than a task's; a stream needs only those of its connection."""
    return aiohttp.ClientTimeout(
        total=None if streamed else timeouts.total,
        connect=timeouts.connect,  # with looking up the name
        sock_connect=timeouts.connect,
        sock_read=None if streamed else timeouts.first_byte,
    )


async def _read(response: aiohttp.ClientResponse, limit: int, *, patience: _Patience) -> bytes:
    """The whole body: its first byte may take as long as a first byte may, each further one as long as a pause may."""
    pieces = []
    size = 0
    seconds = patience.timeouts.first_byte
    while not response.content.at_eof():
        piece = response.content.read_nowait()
        if not piece:  # what is here already needs no timer
            async with patience.lasting(seconds):
                piece = await response.content.readany()
        pieces.append(piece)
        size += len(piece)
        seconds = patience.timeouts.idle
        if size > limit:
            raise ProviderError("The provider's answer is larger than the gateway takes.", may_be_billed=True)
    return b"".join(pieces)


@contextmanager
def _failures(target: Target, body: Outgoing | None = None) -> Iterator[None]:
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


class _Reach(TypedDict):
    sent: bool
    may_be_billed: bool


def _reach(body: Outgoing | None) -> _Reach:
    """How far a request came that failed: a body of which nothing left was not sent, and owes nothing."""
    is_sent = body is not None and body.is_sent
    return {"sent": is_sent or body is None, "may_be_billed": is_sent}


async def _await_a_word(
    stream: ProviderStream, response: aiohttp.ClientResponse, sender: Sender, *, patience: _Patience
) -> None:
    """Read until the stream says something, so that an error in place of an answer can still be made good.

    Signs of life are waited through for a while; then they go on to the client, who waits for them, too.
    """
    opening = Opening(sender)
    try:
        async with asyncio.timeout(KEEP_ALIVE_SECONDS):
            while not (opening.says_something or opening.is_whole):
                if chunk := await stream.read():
                    opening.take(chunk)
                else:
                    opening.end()
    except TimeoutError:
        pass
    except StreamBroken as broken:  # nothing was said yet: another try costs the client nothing but time
        kind = ProviderTimeout if broken.code == ProviderTimeout.code else ProviderUnavailable
        raise kind(broken.message, retryable=True, may_be_billed=True) from None
    if opening.is_whole:
        rest = await _read(response, LARGEST_REPLY_BYTES, patience=patience)
        stream.whole = whole_answer(bytes(opening.taken) + rest, sender)
    stream.unread(bytes(opening.taken))
