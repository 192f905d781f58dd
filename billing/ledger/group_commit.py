"""Group commit: all requests that wait now go to PostgreSQL in one transaction.

Invariant: a group is what arrived while the last one committed, and while the process had other calls to go on with; an
idle process waits for nothing. A second group goes at the same time only when it is full. A request is executed once, even if
its caller no longer waits; what a group raises reaches every caller in it. A request that stalls holds up its own group for
one time limit, and no later one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from billing.errors import LedgerUnavailable, Stalled
from config import resources

Request = TypeVar("Request")
Reply = TypeVar("Reply")
log = structlog.get_logger(__name__)

GROUPS_AT_ONCE = 2
LANES = 4  # of those that go alone after a stall
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# While PostgreSQL is away, it is asked this often.
OUTAGE_PAUSE_SECONDS = 0.05
LONGEST_OUTAGE_PAUSE_SECONDS = 2.0
# A busy process gathers a group for so long at most. It is busy while a turn of its event loop takes this long.
GATHER_SECONDS = 0.005
BUSY_TURN_SECONDS = 0.0002
RIDE_SECONDS = 0.05

_Waiting = tuple[Request, asyncio.Future[Reply]]


class GroupCommit(Generic[Request, Reply]):
    """Gathers requests and executes them in groups of at most `max_size`.

    One group is in PostgreSQL at a time, so that few calls share it and many share the next. Where more wait than fit into one,
    a second is prepared, sent and read beside it.

    `execute` gets the requests in order of arrival and returns as many replies; a reply that is an exception is
    raised for its own request alone. What raises one of `apart_on` as a group is executed one by one, so that a
    request at fault does not fail the others. A request of a group that raised Stalled runs alone, in lanes parallel to the
    groups that follow; what stalls there is tried again for `patience_of` it, with pauses. Where PostgreSQL is away, those
    with patience are tried again together, beside the groups that follow.
    """

    def __init__(
        self,
        execute: Callable[[list[Request]], Awaitable[list[Reply | Exception]]],
        *,
        max_size: int = 128,
        apart_on: tuple[type[Exception], ...] = (),
        patience_of: Callable[[Request], float] = lambda _: 0,
    ) -> None:
        self._execute = execute
        self._max_size = max_size
        self._apart_on = apart_on
        self._patience_of = patience_of
        self._waiting: list[_Waiting[Request, Reply]] = []
        self._riding: list[_Waiting[Request, Reply]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runners = 0
        self._timer: asyncio.TimerHandle | None = None

    async def submit(self, request: Request, *, rides: bool = False) -> Reply:
        """Execute a request with the next group. A caller that is cancelled leaves it to be executed all the same.

        One that only rides starts no group: it goes with one that others start, or after RIDE_SECONDS.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # an earlier loop took its waiters with it
            self._loop, self._waiting, self._riding, self._runners, self._timer = loop, [], [], 0, None
            self._lanes = asyncio.Semaphore(LANES)
        future: asyncio.Future[Reply] = loop.create_future()
        if rides:
            self._riding.append((request, future))
            if not self._runners and self._timer is None:
                self._timer = loop.call_later(RIDE_SECONDS, self._start)
        else:
            self._waiting.append((request, future))
            self._start()
        return await future

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._runners or (self._runners < GROUPS_AT_ONCE and self._is_full()):
            self._runners += 1
            resources.background(self._run())

    async def _run(self) -> None:
        loop = self._loop
        try:
            is_first = True
            while self._waiting or (is_first and self._riding):
                if self._runners > 1 and not self._is_full():
                    break
                is_first = False
                await self._gather()
                if patient := await self._run_group(self._take()):
                    resources.background(self._run_after_outage(patient))
        finally:
            if loop is self._loop:
                self._runners -= 1
                if self._riding and not self._runners and loop is not None:
                    self._timer = loop.call_later(RIDE_SECONDS, self._start)

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._max_size

    async def _gather(self) -> None:
        """Let the calls that can go on do so first: they may have something for this group."""
        now = time.monotonic()
        ends = now + GATHER_SECONDS
        while not self._is_full() and now < ends:
            began = now
            await asyncio.sleep(0)
            now = time.monotonic()
            if now - began < BUSY_TURN_SECONDS:
                return

    def _take(self) -> list[_Waiting[Request, Reply]]:
        group = self._waiting[: self._max_size]
        del self._waiting[: self._max_size]
        room = self._max_size - len(group)
        group += self._riding[:room]
        del self._riding[:room]
        return group

    async def _run_group(self, group: list[_Waiting[Request, Reply]]) -> list[_Waiting[Request, Reply]]:
        """Execute a group; those of it that wait for PostgreSQL to come back."""
        try:
            replies = await self._execute([request for request, _ in group])
        except Stalled as error:
            log.warning("group_stalled", size=len(group), detail=str(error.__cause__)[:500])
            for one in group:
                resources.background(self._run_alone(one))
            return []
        except LedgerUnavailable as error:
            self._fail([one for one in group if not self._patience_of(one[0])], error)
            return [one for one in group if self._patience_of(one[0])]
        except BaseException as error:
            if len(group) > 1 and isinstance(error, self._apart_on):
                return [patient for one in group for patient in await self._run_group([one])]
            self._fail(group, error)
            if not isinstance(error, Exception):
                raise
            return []
        self._answer(group, replies)
        return []

    async def _run_after_outage(self, group: list[_Waiting[Request, Reply]]) -> None:
        """Run a group again and again until PostgreSQL is there, or its patience has ended."""
        ends = time.monotonic() + max(self._patience_of(request) for request, _ in group)
        pause = OUTAGE_PAUSE_SECONDS
        while group and time.monotonic() < ends:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_OUTAGE_PAUSE_SECONDS)
            group = await self._run_group(group)
        self._fail(group, LedgerUnavailable())

    async def _run_alone(self, one: _Waiting[Request, Reply]) -> None:
        ends = time.monotonic() + self._patience_of(one[0])
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._lanes:
                    replies = await self._execute([one[0]])
                return self._answer([one], replies)
            except LedgerUnavailable as error:
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

    def _fail(self, group: list[_Waiting[Request, Reply]], error: BaseException) -> None:
        for _, future in group:
            if not future.done():
                future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            elif isinstance(error, Exception):  # no caller waits for it any more, so it is logged
                log.error("group_failed", error=type(error).__name__, detail=str(error)[:500])

    def _answer(self, group: list[_Waiting[Request, Reply]], replies: list[Reply | Exception]) -> None:
        for (_, future), reply in zip(group, replies, strict=True):
            if future.done():  # its caller is gone
                if isinstance(reply, Exception):
                    log.error("request_failed", error=type(reply).__name__, detail=str(reply)[:500])
            elif isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
