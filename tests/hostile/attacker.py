"""Whoever means harm: a tenant with a key, or nobody, with as many connections as it likes, all on loopback.

Invariant: every request ends within `SECONDS`, answered or not; what it sends is bounded by `size`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

SECONDS = 60.0
BROKEN = 0  # the connection was closed instead of an answer
UNANSWERED = -1  # nothing came in time
MANY_AT_ONCE = 16


@dataclass(frozen=True)
class Attacker:
    """A session of the attacker's. `size` is 1 in the suite and more where time is taken for it."""

    session: aiohttp.ClientSession
    base_url: str
    key: str
    model: str
    claude: str
    size: int = 1

    async def post(
        self, path: str, body: Any, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> int:
        """The status that a body is answered with; bytes go as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send("POST", path, content, key=key, headers=headers)

    async def send(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterator[bytes] | aiohttp.FormData | None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        """The status of any request."""
        key = self.key if key is None else key
        sent = {} if isinstance(content, aiohttp.FormData) else {"content-type": "application/json"}
        sent |= ({"authorization": f"Bearer {key}"} if key else {}) | (headers or {})
        try:
            async with self.session.request(
                method, self.base_url + path, data=content, headers=sent
            ) as answer:
                await answer.read()
                return answer.status
        except TimeoutError:
            return UNANSWERED
        except (aiohttp.ClientError, OSError):
            return BROKEN

    async def chat(self, text: Any = "Hello", *, headers: dict[str, str] | None = None, **fields: Any) -> int:
        """The status of a chat completion."""
        body = {
            "model": self.model,
            "max_tokens": 16,
            "messages": [{"role": "user", "content": text}],
            **fields,
        }
        return await self.post("/v1/chat/completions", body, headers=headers)

    async def all(self, calls: Iterable[Awaitable[int]]) -> list[int]:
        """Many at once, but not too many."""
        gate = asyncio.Semaphore(MANY_AT_ONCE)

        async def one(call: Awaitable[int]) -> int:
            async with gate:
                return await call

        return list(await asyncio.gather(*(one(call) for call in calls)))

    async def raw(self, content: bytes, *, seconds: float) -> int:
        """Write bytes to a socket of its own: the status of what comes within the time, or that it was closed."""
        url = urlsplit(self.base_url)
        try:
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
        except OSError:
            return BROKEN
        try:
            writer.write(content)
            await writer.drain()
            line = await asyncio.wait_for(reader.readline(), seconds)
            return int(line.split()[1]) if line.startswith(b"HTTP/") else BROKEN
        except TimeoutError:
            return UNANSWERED
        except (OSError, IndexError, ValueError):
            return BROKEN
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass(frozen=True)
class Attack:
    """Something tried: the statuses it may be answered with, and whether it may leave anything in a limiter."""

    name: str
    what: str
    send: Callable[[Attacker], Awaitable[list[int]]]
    may_get: frozenset[int]
    is_refused: bool = False  # nothing of it reaches a provider


ATTACKS: list[Attack] = []
FINE = frozenset({200, 202, 400, 401, 402, 403, 404, 411, 413, 415, 422, 429, 431, 503})
REFUSED = FINE - {200, 202}


def attack(
    what: str, *, may_get: frozenset[int] = FINE, is_refused: bool = False
) -> Callable[[Callable[[Attacker], Awaitable[list[int]]]], Callable[[Attacker], Awaitable[list[int]]]]:
    """Put a function among the attacks."""

    def put(send: Callable[[Attacker], Awaitable[list[int]]]) -> Callable[[Attacker], Awaitable[list[int]]]:
        ATTACKS.append(Attack(send.__name__, what, send, may_get, is_refused))
        return send

    return put
