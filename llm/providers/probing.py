"""Tests an account's connection: asks its server for the models, with its key.

Invariant: costs nothing, ends within `SECONDS`, reads at most `MOST_BYTES`, follows no redirect, and connects to no address of a
link or of a cloud's metadata. What it says has no credential in it.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from config.egress import AddressRefused, check_url, guarded_connector
from llm.providers.classify import failure_of
from llm.providers.errors import without_secrets
from llm.providers.kinds import KINDS

SECONDS: Final = 10.0
MOST_BYTES: Final = 4 * 1024 * 1024
MOST_ERROR_BYTES: Final = 64 * 1024


class NoConnection(Exception):
    """The account cannot be called; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered, and how soon."""

    milliseconds: int
    models: frozenset[str]

    def lacking(self, upstreams: Iterable[str]) -> list[str]:
        """Which of these names it does not list."""
        return sorted(set(upstreams) - self.models) if self.models else []


def probe(account: Any) -> Answer:
    """Ask an account's server. Raises NoConnection."""
    return asyncio.run(_probe(account))


async def _probe(account: Any) -> Answer:
    kind = KINDS[account.kind]
    url = kind.models_url(account)
    headers = {**kind.auth_headers(account.api_key), "user-agent": "purser", "accept": "application/json"}
    began = time.perf_counter()
    try:
        check_url(url, may_be_private=True)  # an operator's own server may be on a private network
        async with (
            asyncio.timeout(SECONDS),
            aiohttp.ClientSession(connector=guarded_connector(may_be_private=True, limit=1)) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            content = await _read(response, MOST_BYTES if response.status == 200 else MOST_ERROR_BYTES)
    except TimeoutError:
        raise NoConnection(f"No answer within {SECONDS:.0f} s.") from None
    except AddressRefused as refusal:
        raise NoConnection(f"Not asked: {refusal}.") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if isinstance(cause, AddressRefused):
            raise NoConnection(f"Not asked: {cause}.") from None
        raise NoConnection(
            without_secrets(
                f"The server cannot be reached ({type(error).__name__}).", api_key=account.api_key
            )
        ) from None
    milliseconds = round(1000 * (time.perf_counter() - began))
    if response.status != 200:
        failure = failure_of(
            response.status, content, response.headers, provider=account.name, api_key=account.api_key
        )
        raise NoConnection(f"It answered {response.status} within {milliseconds:,} ms: {failure.message}")
    return Answer(milliseconds, _names(content))


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise NoConnection(f"It answered {response.status} with more than {most:,} bytes.")
    return b"".join(pieces)


def _names(content: bytes) -> frozenset[str]:
    """The ids of a list of models. Raises NoConnection for what is none."""
    try:
        rows = orjson.loads(content)["data"]
        return frozenset(str(row["id"]) for row in rows)
    except (ValueError, KeyError, TypeError):
        raise NoConnection(
            "It answered 200, but with no list of models: is the address that of an API?"
        ) from None
