"""The gate of one worker: how many calls are inside, how many wait in line, and who is turned away.

Invariant: never more than `most_inside` calls inside and `most_waiting` in line; whoever waits is let in in the order of
arrival, or turned away after `longest_wait_seconds`, at once where the line plainly moves too slowly. What a turned-away
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


class Drain:
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


class Gate:
    """Lets calls in. Every `enter` that returns needs one `leave`.

    `has_pace`: how fast calls left lately tells how long a line will take. It does not where a place is held for
    milliseconds and hardly anybody came.
    """

    def __init__(
        self,
        *,
        most_inside: int,
        most_waiting: int,
        longest_wait_seconds: float,
        drain: Drain | None = None,
        gauges: tuple[Gauge, Gauge] = (IN_FLIGHT, WAITING),
        has_pace: bool = True,
    ) -> None:
        self._has_pace = has_pace
        self._inside_gauge, self._waiting_gauge = gauges
        self._most_inside = most_inside
        self._most_waiting = most_waiting
        self._longest_wait_seconds = longest_wait_seconds
        self._inside = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._drain = drain or Drain()
        self._is_shut = False

    def shut(self) -> None:
        """Let nobody in any more, and send away who waits."""
        self._is_shut = True
        for turn in self._line:
            turn.cancel()

    async def enter(self) -> None:
        """Go in, after waiting in line where there is one; raises TurnedAway."""
        if self._is_shut:
            raise self._turned_away("stopping")
        if self._inside < self._most_inside:
            self._inside += 1
            self._inside_gauge.set(self._inside)
            return
        if len(self._line) >= self._most_waiting:
            raise self._turned_away("full")
        if self._has_pace and self._seconds_to_pass() > self._longest_wait_seconds:
            raise self._turned_away("slow")
        await self._wait_in_line()

    def leave(self) -> None:
        """Make room: the first in line takes the place."""
        self._drain.note()
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                self._waiting_gauge.set(len(self._line))
                return
        self._inside -= 1
        self._inside_gauge.set(self._inside)

    async def _wait_in_line(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._waiting_gauge.set(len(self._line))
        try:
            async with asyncio.timeout(self._longest_wait_seconds):
                await turn
        except TimeoutError:
            if not self._has_taken(turn):
                raise self._turned_away("waited") from None
        except asyncio.CancelledError:
            if self._has_taken(turn):
                self.leave()
            if self._is_shut and turn.cancelled() and not _current_task_is_cancelled():
                raise self._turned_away("stopping") from None
            raise

    def _has_taken(self, turn: "asyncio.Future[None]") -> bool:
        """Whether the place was given at the very moment the wait ended; otherwise the line forgets it."""
        if turn.done() and not turn.cancelled():
            return True
        if turn in self._line:
            self._line.remove(turn)
            self._waiting_gauge.set(len(self._line))
        return False

    def _seconds_to_pass(self) -> float:
        """How long a newcomer would stand in line; 0 where nobody has left lately, so that nothing is known."""
        per_second = self._drain.per_second()
        return (len(self._line) + 1) / per_second if per_second else 0.0

    def _turned_away(self, reason: str) -> TurnedAway:
        TURNED_AWAY.labels(reason).inc()
        seconds = math.ceil(self._seconds_to_pass()) or LONGEST_RETRY_SECONDS
        if self._is_shut:
            seconds = 1  # another process takes over
        return TurnedAway(
            reason,
            retry_after_seconds=min(seconds, LONGEST_RETRY_SECONDS),
            inside=self._inside,
            waiting=len(self._line),
        )


def _current_task_is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
