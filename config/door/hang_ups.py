"""Cancels the work for a client that hangs up.

Invariant: the work is cancelled as soon as the client's hang-up is heard, and never after it has ended. What ends within
LISTEN_AFTER_SECONDS is not listened for: asking the server costs more than it could spare.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

LISTEN_AFTER_SECONDS: Final = 0.05

Receive = Callable[[], Awaitable[Any]]


@contextmanager
def until_hang_up(receive: Receive, *, after_seconds: float = LISTEN_AFTER_SECONDS) -> Iterator[None]:
    """Do the work inside until the client hangs up: then it is cancelled, and this is left without an error. `receive` must
    have given the whole body: what else it gives is the word that this was all, and the disconnect."""
    task = asyncio.current_task()
    assert task is not None
    listener = _Listener(receive, task)
    timer = asyncio.get_running_loop().call_later(after_seconds, listener.listen)
    try:
        yield
    except asyncio.CancelledError:
        if not listener.has_hung_up or task.cancelling() > 1:  # somebody else wants it to end
            raise
    finally:
        timer.cancel()
        listener.close()
        if listener.has_hung_up:
            task.uncancel()


class _Listener:
    """Listens to one client, and cancels one task."""

    __slots__ = ("_heard", "_is_over", "_receive", "_task", "has_hung_up")

    def __init__(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self._receive, self._task = receive, task
        self._heard: asyncio.Future[Any] | None = None
        self._is_over = self.has_hung_up = False

    def listen(self) -> None:
        self._heard = asyncio.ensure_future(self._receive())
        self._heard.add_done_callback(self._hear)

    def close(self) -> None:
        """Listen no longer. The server's future and we know each other, and no garbage collection sees into its own."""
        self._is_over = True
        heard, self._heard = self._heard, None
        if heard is not None:
            heard.cancel()

    def _hear(self, heard: "asyncio.Future[Any]") -> None:
        if self._is_over:
            return
        if not heard.cancelled() and heard.exception() is None and _is_of_the_body(heard.result()):
            self.listen()
            return
        self.has_hung_up = True
        self._task.cancel()


def _is_of_the_body(message: Any) -> bool:
    return bool(message["type"] == "http.request")
