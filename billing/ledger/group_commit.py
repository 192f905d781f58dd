"""Group commit: all requests that wait now go to PostgreSQL in one transaction.

Invariant: no timer and no added delay: a group is what arrived while the last one committed. A request is
executed once, even if its caller no longer waits; what a group raises reaches every caller in it. A request that stalls
holds up its own group for one time limit, and no later one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from billing.errors import Stalled
from config import resources

Request = TypeVar("Request")
Reply = TypeVar("Reply")
log = structlog.get_logger(__name__)

LANES = 4  # of those that go alone after a stall
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


class GroupCommit(Generic[Request, Reply]):
    """Gathers requests and executes them in groups of at most `max_size`, one group at a time per process.

    With more than that in flight two groups take turns: one is in PostgreSQL while we prepare the other, which at
    256 in flight is a third faster than one big group.

    `execute` gets the requests in order of arrival and returns as many replies; a reply that is an exception is
    raised for its own request alone. What raises one of `apart_on` as a group is executed one by one, so that a
    request at fault does not fail the others. A request of a group that raised Stalled runs alone, in lanes parallel to the
    groups that follow; what stalls there is tried again for `patience_seconds`, with pauses.
    """

    def __init__(
        self,
        execute: Callable[[list[Request]], Awaitable[list[Reply | Exception]]],
        *,
        max_size: int = 128,
        apart_on: tuple[type[Exception], ...] = (),
        patience_seconds: float = 0,
    ) -> None:
        self._execute = execute
        self._max_size = max_size
        self._apart_on = apart_on
        self._patience_seconds = patience_seconds
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Reply:
        """Execute a request with the next group. A caller that is cancelled leaves it to be executed all the same."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # an earlier loop took its waiters with it
            self._loop, self._waiting, self._runner = loop, [], None
            self._lanes = asyncio.Semaphore(LANES)
        future: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append((request, future))
        if self._runner is None:
            self._runner = resources.background(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[: self._max_size]
                del self._waiting[: self._max_size]
                await self._run_group(group)
        finally:
            self._runner = None

    async def _run_group(self, group: list[tuple[Request, "asyncio.Future[Reply]"]]) -> None:
        try:
            replies = await self._execute([request for request, _ in group])
        except Stalled as error:
            log.warning("group_stalled", size=len(group), detail=str(error.__cause__)[:500])
            for one in group:
                resources.background(self._run_alone(one))
            return
        except BaseException as error:
            if len(group) > 1 and isinstance(error, self._apart_on):
                for one in group:
                    await self._run_group([one])
                return
            self._fail(group, error)
            if not isinstance(error, Exception):
                raise
            return
        self._answer(group, replies)

    async def _run_alone(self, one: tuple[Request, "asyncio.Future[Reply]"]) -> None:
        ends = time.monotonic() + self._patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._lanes:
                    replies = await self._execute([one[0]])
                return self._answer([one], replies)
            except Stalled as error:
                if time.monotonic() > ends:
                    return self._fail([one], error)
                log.warning("request_stalled", retry_in_seconds=pause, detail=str(error.__cause__)[:500])
            except BaseException as error:
                self._fail([one], error)
                if not isinstance(error, Exception):
                    raise
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _fail(self, group: list[tuple[Request, "asyncio.Future[Reply]"]], error: BaseException) -> None:
        for _, future in group:
            if not future.done():
                future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            elif isinstance(error, Exception):  # no caller waits for it any more, so it is logged
                log.error("group_failed", error=type(error).__name__, detail=str(error)[:500])

    def _answer(
        self, group: list[tuple[Request, "asyncio.Future[Reply]"]], replies: list[Reply | Exception]
    ) -> None:
        for (_, future), reply in zip(group, replies, strict=True):
            if future.done():  # its caller is gone
                if isinstance(reply, Exception):
                    log.error("request_failed", error=type(reply).__name__, detail=str(reply)[:500])
            elif isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
