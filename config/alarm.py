"""A timer for many waits, one after the other: it is set before each, and cleared after it.

Invariant: it rings once for a wait that lasts too long, and never for one that has ended. The event loop's own timer is set
anew only when it goes off, so a wait costs two assignments.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

NEVER: Final = inf


class Alarm:
    """Calls `ring` at the time that is set, on the event loop's clock."""

    __slots__ = ("_at", "_goes_off_at", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._at = self._goes_off_at = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, *, latest: float = NEVER) -> None:
        """Ring in so many seconds, at this time of the clock at the latest."""
        at = self._loop.time() + seconds
        self._at = at if at < latest else latest
        if self._at < self._goes_off_at:
            self._start()

    def clear(self) -> None:
        """Do not ring until it is set again."""
        self._at = NEVER

    def close(self) -> None:
        """Never ring again."""
        self._at = self._goes_off_at = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._goes_off_at = self._at
        self._timer = self._loop.call_at(self._at, self._go_off)

    def _go_off(self) -> None:
        self._timer, self._goes_off_at = None, NEVER
        if self._at == NEVER:
            return
        if self._at > self._loop.time():
            self._start()
            return
        self._at = NEVER
        self._ring()
