"""The concurrency limit of one worker: how many calls run, how many wait, and which are rejected.

Invariant: at most `max_running` calls run and `max_waiting` wait. Waiting calls are admitted in order of arrival. A call
is rejected after `max_wait_seconds`, or immediately if the queue moves too slowly. The reported retry time is how long
the queue takes at its current speed.
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
    """A call was rejected because the worker is full or stopping. The numbers say why."""

    def __init__(self, reason: str, *, retry_after_seconds: int, inside: int, waiting: int) -> None:
        super().__init__(f"{reason}: {inside} calls inside, {waiting} in line")
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.inside, self.waiting = inside, waiting


class DepartureRate:
    """The calls per second that ended within the last half minute. Constant memory, no timer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._counts = [0] * WINDOW_SECONDS
        self._second = int(self._began)

    def note(self) -> None:
        """One call has ended."""
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
    """Admits calls. Every `enter` that returns needs one `leave`.

    `predicts_wait`: the recent rate of ended calls predicts the wait. Switch it off where calls are short and few.
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
        """Admit no more calls, and reject the waiting ones."""
        self._is_closed = True
        for turn in self._waiting:
            turn.cancel()

    def report(self) -> None:
        """Tell Prometheus how many calls there are: at intervals, because that costs as much as a call's turn."""
        self._running_gauge.set(self._running)
        self._waiting_gauge.set(len(self._waiting))

    async def enter(self) -> None:
        """Start a call, after waiting if the worker is full. Raises TurnedAway."""
        if self._is_closed:
            raise self._rejection("stopping")
        if self._running < self._max_running:
            self._running += 1
            return
        if len(self._waiting) >= self._max_waiting:
            raise self._rejection("full")
        if self._predicts_wait and self._expected_wait_seconds() > self._max_wait_seconds:
            raise self._rejection("slow")
        await self._wait()

    def leave(self) -> None:
        """End a call: the first waiting call takes its place."""
        self._departures.note()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
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
        """Whether the call was admitted just when its wait ended; otherwise it leaves the queue."""
        if turn.done() and not turn.cancelled():
            return True
        if turn in self._waiting:
            self._waiting.remove(turn)
        return False

    def _expected_wait_seconds(self) -> float:
        """How long a new call would wait; 0 if no call ended recently, because then nothing is known."""
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
