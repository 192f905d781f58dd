"""The queue of one worker: how many calls are inside, how many wait in line, and who is turned away.

Invariant: never more than `max_running` calls inside and `max_waiting` in line; whoever waits is let in in the order of
arrival, or turned away after `max_wait_seconds`, at once where the line plainly moves too slowly. What a turned-away
caller is told to wait is how long the line, as it moves, takes to pass.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from prometheus_client import Counter, Gauge

WINDOW_SECONDS = 30
LONGEST_RETRY_SECONDS = 60

IN_FLIGHT = Gauge(
    "purser_calls_in_flight",
    "Calls of /v1 being answered, open streams included",
    multiprocess_mode="livesum",
)
WAITING = Gauge("purser_calls_waiting", "Calls of /v1 that wait in line", multiprocess_mode="livesum")
STRANGERS = Gauge(
    "purser_strangers_in_flight", "Calls of /v1 whose key is being looked up", multiprocess_mode="livesum"
)
STRANGERS_WAITING = Gauge(
    "purser_strangers_waiting", "Calls of /v1 that wait for their key's look-up", multiprocess_mode="livesum"
)
TURNED_AWAY = Counter("purser_calls_turned_away_total", "Calls of /v1 refused before any work", ["reason"])


class TurnedAway(Exception):
    """There is no room for a call; the numbers say why."""

    def __init__(self, reason: str, *, retry_after_seconds: int, inside: int, waiting: int) -> None:
        super().__init__(f"{reason}: {inside} calls inside, {waiting} in line")
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.inside, self.waiting = inside, waiting


class DepartureRate:
    """How many calls a second left within the last half minute. Constant memory, no timer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._counts = [0] * WINDOW_SECONDS
        self._second = int(self._began)

    def note(self) -> None:
        """One call has left."""
        self._turn_to(int(self._clock()))
        self._counts[self._second % WINDOW_SECONDS] += 1

    def per_second(self) -> float:
        now = self._clock()
        self._turn_to(int(now))
        return sum(self._counts) / min(WINDOW_SECONDS, max(1.0, now - self._began))

    def _turn_to(self, second: int) -> None:
        for passed in range(min(WINDOW_SECONDS, second - self._second)):
            self._counts[(second - passed) % WINDOW_SECONDS] = 0
        self._second = second


class CallQueue:
    """Lets calls in. Every `enter` that returns needs one `leave`.

    `predicts_wait`: how fast calls left lately tells how long a line will take. It does not where a place is held for
    milliseconds and hardly anybody came.
    """

    def __init__(
        self,
        *,
        max_running: int,
        max_waiting: int,
        max_wait_seconds: float,
        departures: DepartureRate | None = None,
        gauges: tuple[Gauge, Gauge] = (IN_FLIGHT, WAITING),
        predicts_wait: bool = True,
    ) -> None:
        self._predicts_wait = predicts_wait
        self._running_gauge, self._waiting_gauge = gauges
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._departures = departures or DepartureRate()
        self._is_closed = False

    def close(self) -> None:
        """Let nobody in any more, and send away who waits."""
        self._is_closed = True
        for turn in self._waiting:
            turn.cancel()

    async def enter(self) -> None:
        """Go in, after waiting in line where there is one; raises TurnedAway."""
        if self._is_closed:
            raise self._rejection("stopping")
        if self._running < self._max_running:
            self._running += 1
            self._running_gauge.set(self._running)
            return
        if len(self._waiting) >= self._max_waiting:
            raise self._rejection("full")
        if self._predicts_wait and self._expected_wait_seconds() > self._max_wait_seconds:
            raise self._rejection("slow")
        await self._wait()

    def leave(self) -> None:
        """Make room: the first in line takes the place."""
        self._departures.note()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._waiting_gauge.set(len(self._waiting))
                return
        self._running -= 1
        self._running_gauge.set(self._running)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._waiting_gauge.set(len(self._waiting))
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await turn
        except TimeoutError:
            if not self._was_admitted(turn):
                raise self._rejection("waited") from None
        except asyncio.CancelledError:
            if self._was_admitted(turn):
                self.leave()
            if self._is_closed and turn.cancelled() and not _current_task_is_cancelled():
                raise self._rejection("stopping") from None
            raise

    def _was_admitted(self, turn: "asyncio.Future[None]") -> bool:
        """Whether the place was given at the very moment the wait ended; otherwise the line forgets it."""
        if turn.done() and not turn.cancelled():
            return True
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._waiting_gauge.set(len(self._waiting))
        return False

    def _expected_wait_seconds(self) -> float:
        """How long a newcomer would stand in line; 0 where nobody has left lately, so that nothing is known."""
        per_second = self._departures.per_second()
        return (len(self._waiting) + 1) / per_second if per_second else 0.0

    def _rejection(self, reason: str) -> TurnedAway:
        TURNED_AWAY.labels(reason).inc()
        seconds = math.ceil(self._expected_wait_seconds()) or LONGEST_RETRY_SECONDS
        if self._is_closed:
            seconds = 1  # another process takes over
        return TurnedAway(
            reason,
            retry_after_seconds=min(seconds, LONGEST_RETRY_SECONDS),
            inside=self._running,
            waiting=len(self._waiting),
        )


def _current_task_is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
