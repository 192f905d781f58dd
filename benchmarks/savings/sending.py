"""Sends a day of requests through the gateway, in order, and notes what came back for each.

Invariant: every request is answered with 200 and one of our answers, or the run fails; a day that takes too long is ended.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.savings.bodies import number_of
from benchmarks.savings.workload import Ask

IN_FLIGHT = 8
CALL_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got: which answer, from where, and by which model and tier (of a hit: of the call that was bought)."""

    answer: int
    cache: str
    model: str
    tier: str
    tokens_before: int
    tokens_after: int


async def send(
    base_url: str, key: str, asks: Sequence[Ask], bodies: Sequence[bytes], *, seconds: float
) -> list[Reply]:
    """The replies, in the order of the asks."""
    replies: list[Reply | None] = [None] * len(asks)
    places = iter(range(len(asks)))
    deadline = time.monotonic() + seconds
    connector, timeout = aiohttp.TCPConnector(limit=IN_FLIGHT), aiohttp.ClientTimeout(total=CALL_SECONDS)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def keep_sending(session: aiohttp.ClientSession, places: Iterator[int]) -> None:
        for place in places:
            if time.monotonic() > deadline:
                raise SystemExit(f"{place} of {len(asks)} requests took all of the time: raise SECONDS")
            replies[place] = await _send_one(session, asks[place], bodies[place])

    async with (
        aiohttp.ClientSession(base_url, connector=connector, timeout=timeout, headers=headers) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(IN_FLIGHT):
            group.create_task(keep_sending(session, places))
    return [reply for reply in replies if reply is not None]


async def _send_one(session: aiohttp.ClientSession, ask: Ask, body: bytes) -> Reply:
    headers = {"x-purser-feature": ask.kind, "x-purser-tags": f"may_wait={'yes' if ask.may_wait else 'no'}"}
    async with session.post("/v1/chat/completions", data=body, headers=headers) as response:
        raw = await response.read()
    if response.status != 200:
        raise SystemExit(f"{response.status}: {raw[:500].decode(errors='replace')}")
    return reply_of(json.loads(raw))


def reply_of(answer: dict[str, Any]) -> Reply:
    """The facts of an answer, as its `purser` object gives them."""
    block = answer["purser"]
    number = number_of(answer["choices"][0]["message"]["content"])
    if not number:
        raise SystemExit("an answer is none of the workload's")
    return Reply(
        answer=number,
        cache=block["cache"],
        model=block["model"],
        tier=(block["route"] or {}).get("tier", ""),
        tokens_before=block["tokens"]["prompt_before_compression"] or 0,
        tokens_after=block["tokens"]["prompt_after_compression"] or 0,
    )
