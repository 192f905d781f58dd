"""Sends a day of requests through the gateway, in order, and notes what came back for each.

Invariant: every request is answered with 200 and one of our answers, or the run fails; a day that takes too long is ended.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
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
    base_url: str,
    key: str,
    asks: Sequence[Ask],
    bodies: Sequence[bytes],
    *,
    seconds: float,
    tier_of: Mapping[str, str],
    defers: bool = False,
) -> list[Reply]:
    """The replies, in the order of the asks. `tier_of` are the tiers of the models; `defers`: who may wait, does."""
    replies: list[Reply | None] = [None] * len(asks)
    jobs: dict[int, str] = {}
    places = iter(range(len(asks)))
    deadline = time.monotonic() + seconds
    connector, timeout = aiohttp.TCPConnector(limit=IN_FLIGHT), aiohttp.ClientTimeout(total=CALL_SECONDS)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def keep_sending(session: aiohttp.ClientSession, places: Iterator[int]) -> None:
        for place in places:
            if time.monotonic() > deadline:
                raise SystemExit(f"{place} of {len(asks)} requests took all of the time: raise SECONDS")
            sent = await _send_one(session, asks[place], bodies[place], defers=defers)
            if isinstance(sent, Reply):
                replies[place] = sent
            else:
                jobs[place] = sent

    async def keep_asking(session: aiohttp.ClientSession, places: Iterator[int]) -> None:
        for place in places:
            replies[place] = await _answer_of(session, jobs[place], tier_of, deadline=deadline)

    async with (
        aiohttp.ClientSession(base_url, connector=connector, timeout=timeout, headers=headers) as session,
    ):
        await _side_by_side(lambda: keep_sending(session, places))
        waiting = iter(sorted(jobs))
        await _side_by_side(lambda: keep_asking(session, waiting))
    return [reply for reply in replies if reply is not None]


async def _side_by_side(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())


async def _send_one(session: aiohttp.ClientSession, ask: Ask, body: bytes, *, defers: bool) -> Reply | str:
    """The reply; of a call that waits, its job."""
    headers = {"x-purser-feature": ask.kind, "x-purser-tags": f"may_wait={'yes' if ask.may_wait else 'no'}"}
    if waits := defers and ask.may_wait:
        headers["x-purser-urgency"] = "deferred"
    async with session.post("/v1/chat/completions", data=body, headers=headers) as response:
        raw = await response.read()
    if response.status != (202 if waits else 200):
        raise SystemExit(f"{response.status}: {raw[:500].decode(errors='replace')}")
    answer = json.loads(raw)
    return str(answer["id"]) if waits else reply_of(answer)


async def _answer_of(
    session: aiohttp.ClientSession, job_id: str, tier_of: Mapping[str, str], *, deadline: float
) -> Reply:
    """What a job came to, when it is over."""
    while time.monotonic() < deadline:
        async with session.get(f"/v1/jobs/{job_id}", params={"wait": "30"}) as response:
            job = json.loads(await response.read())
        if job["status"] == "completed":
            return reply_of_job(job, tier_of)
        if job["status"] in ("failed", "cancelled"):
            raise SystemExit(f"{job_id} is {job['status']}: {job['error']}")
    raise SystemExit(f"{job_id} is still {job['status']}: raise SECONDS")


def reply_of_job(job: dict[str, Any], tier_of: Mapping[str, str]) -> Reply:
    """The facts of a job's answer: a line of a batch has fewer than a call."""
    block = job["response"]["purser"]
    if "cache" in block:
        return reply_of(job["response"])
    tokens = block["tokens"]["input"]
    return Reply(number_in(job["response"]), "miss", block["model"], tier_of[block["model"]], tokens, tokens)


def reply_of(answer: dict[str, Any]) -> Reply:
    """The facts of an answer, as its `purser` object gives them."""
    block = answer["purser"]
    return Reply(
        answer=number_in(answer),
        cache=block["cache"],
        model=block["model"],
        tier=(block["route"] or {}).get("tier", ""),
        tokens_before=block["tokens"]["prompt_before_compression"] or 0,
        tokens_after=block["tokens"]["prompt_after_compression"] or 0,
    )


def number_in(answer: dict[str, Any]) -> int:
    """Which of the workload's answers it is."""
    number = number_of(answer["choices"][0]["message"]["content"])
    if not number:
        raise SystemExit("an answer is none of the workload's")
    return number
