"""A circuit breaker for each dependency of the cache, so that a failing one does not slow requests down.

Invariant: a request waits for the dependency at most once, and at most its timeout. While the circuit is open no
request waits at all. A probe in the background, at most one a second, finds out whether the dependency is back.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from django.conf import settings

from caching.metrics import CIRCUIT_OPEN, FAILURES
from config import resources
from config.breaker import Breaker, BreakerPolicy, State

T = TypeVar("T")
# When the event loop itself was late, the answer may arrive together with the timer: allow a few turns to read it.
_TURNS_OF_GRACE = 8
_TIMER_SECONDS = 0.002  # timers may end so much early

log = structlog.get_logger("purser.cache")


class Unavailable(Exception):
    """The dependency did not answer in time, or not at all. The caller goes on without it."""


class AdaptiveTimeout:
    """How long a request waits for a dependency: three times the recent 99th percentile, within two bounds.

    On a fast machine that is a few milliseconds. A machine that becomes busy loses no hits: a late call doubles the
    timeout, and only many calls in time make it short again.
    """

    FACTOR = 3
    LEAST_CALLS, REMEMBERED_CALLS = 50, 200

    def __init__(self, *, least_seconds: float, most_seconds: float) -> None:
        self.least_seconds, self.most_seconds = least_seconds, most_seconds
        self.seconds = most_seconds
        self._taken: deque[float] = deque(maxlen=self.REMEMBERED_CALLS)
        self._since_settled = 0

    def note(self, seconds: float) -> None:
        """A call answered in time."""
        self._taken.append(seconds)
        self._since_settled += 1
        if self._since_settled >= self.LEAST_CALLS:
            self._since_settled = 0
            slowest = sorted(self._taken)[-1 - len(self._taken) // 100]
            self.seconds = min(self.most_seconds, max(self.least_seconds, self.FACTOR * slowest))

    def note_timeout(self) -> None:
        self.seconds = min(self.most_seconds, 2 * self.seconds)
        self._taken.clear()
        self._since_settled = 0


class Circuit:
    """Closed: calls go through. Open: `call` raises Unavailable immediately, until a probe has succeeded.

    An error of `outages` that is not one of `no_outages` opens it. So do a few slow calls in a row. Without a `probe`,
    the work of a rejected call runs in the background as the probe; it must finish within that call's timeout.
    """

    def __init__(
        self,
        name: str,
        *,
        timeout_seconds: float,
        least_seconds: float | None = None,
        probe: Callable[[], Awaitable[Any]] | None,
        outages: tuple[type[Exception], ...],
        no_outages: tuple[type[Exception], ...] = (),
        rest_seconds: float = 1.0,
        slow_calls_allowed: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        scale = settings.CACHE_BUDGET_SCALE
        self.timeout = AdaptiveTimeout(
            least_seconds=scale * (least_seconds or timeout_seconds), most_seconds=scale * timeout_seconds
        )
        self._probe = probe
        self._outages = outages
        self._no_outages = no_outages
        self._policy = BreakerPolicy(
            failures=slow_calls_allowed,
            open_seconds=rest_seconds,
            longest_open_seconds=rest_seconds,
            probe_seconds=rest_seconds,
        )
        self._breaker = Breaker()
        self.clock = clock

    @property
    def state(self) -> State:
        """Half open while its probe runs."""
        return self._breaker.state

    @property
    def is_open(self) -> bool:
        return self.state is not State.CLOSED

    async def call(
        self, work: Callable[[], Coroutine[Any, Any, T]], *, timeout_seconds: float | None = None
    ) -> T:
        """Run `work` within the adaptive timeout, or within `timeout_seconds` for work in the background.

        Raises Unavailable when there is no answer, for any reason. Late work is cancelled, and not waited for.
        """
        return await self.call_timed(lambda seconds: _within(seconds, work), timeout_seconds=timeout_seconds)

    async def call_timed(
        self, work: Callable[[float], Coroutine[Any, Any, T]], *, timeout_seconds: float | None = None
    ) -> T:
        """Like `call`, for work that keeps the timeout itself: it raises TimeoutError then."""
        is_awaited = timeout_seconds is None  # by a request; background work does not change the timeout
        timeout = self.timeout.seconds if timeout_seconds is None else timeout_seconds
        if self.is_open:
            longest = self._policy.probe_seconds
            if self._probe is None:
                self._probe_when_due(lambda: work(min(timeout, longest)), min(timeout, longest))
            else:
                self._probe_when_due(self._probe, longest)
            raise Unavailable(self._name)
        began = time.monotonic()
        try:
            result = await work(timeout)
        except Unavailable:
            raise
        except Exception as error:
            taken = time.monotonic() - began
            if isinstance(error, TimeoutError) and taken >= timeout - _TIMER_SECONDS:
                self._note_failure("slow", self._breaker.failed(self.clock(), self._policy))
                if is_awaited:
                    self.timeout.note_timeout()
                raise Unavailable(f"{self._name} took longer than {timeout * 1000:.0f} ms") from error
            is_outage = isinstance(error, self._outages) and not isinstance(error, self._no_outages)
            after = self._breaker.opened(self.clock(), self._policy) if is_outage else self._breaker
            self._note_failure(type(error).__name__, after)
            raise Unavailable(f"{self._name}: {type(error).__name__}") from error
        if not self.is_open:  # only a probe closes it
            self._breaker = self._breaker.succeeded()
        if is_awaited:
            self.timeout.note(time.monotonic() - began)
        return result

    def _note_failure(self, kind: str, after: Breaker) -> None:
        """A call failed, and the breaker becomes `after`. While it is open, only a probe changes it."""
        opens = not self.is_open and after.state is State.OPEN
        FAILURES.labels(self._name, kind).inc()
        log.warning("cache dependency failed", dependency=self._name, kind=kind, circuit_opens=opens)
        if not self.is_open:
            self._breaker = after
        if opens:
            CIRCUIT_OPEN.labels(self._name).set(1)

    def _probe_when_due(self, probe: Callable[[], Awaitable[Any]], seconds: float) -> None:
        now = self.clock()
        if self._breaker.permits(now):
            self._breaker = self._breaker.begun(now, self._policy)
            resources.background(self._try_again(probe, seconds, began=now))

    async def _try_again(self, probe: Callable[[], Awaitable[Any]], seconds: float, *, began: float) -> None:
        failures: tuple[type[Exception], ...] = (TimeoutError, *self._outages)
        try:
            async with asyncio.timeout(seconds):
                await probe()
        except failures:
            # the open time counts from the probe's start
            self._breaker = self._breaker.failed(began, self._policy)
            return
        self._breaker = self._breaker.succeeded()
        CIRCUIT_OPEN.labels(self._name).set(0)
        log.info("cache dependency is back", dependency=self._name)


async def _within(seconds: float, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of work that is cancelled when its time is up, and not waited for. Raises TimeoutError."""
    task = resources.background(work())
    try:
        await asyncio.wait({task}, timeout=seconds)
        for _ in range(_TURNS_OF_GRACE):
            if not task.done():
                await asyncio.sleep(0)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        task.add_done_callback(_retrieve)
        raise TimeoutError
    if task.cancelled():
        raise Unavailable("the process is shutting down")
    return task.result()


def _retrieve(task: "asyncio.Task[Any]") -> None:
    # No other code reads the exception of late work, and asyncio would log a warning.
    if not task.cancelled():
        task.exception()
