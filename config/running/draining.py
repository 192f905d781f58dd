"""The end of a worker: told to stop, it finishes what is under way, until a deadline.

Invariant: from SIGTERM on nothing new is begun; what is still open DRAIN_SECONDS later is ended by who registered for it,
while there is time to settle. The server closes its door, waits for open connections, and ends the worker a little later.
"""

import asyncio
import signal
from collections.abc import Callable

import structlog
from django.conf import settings

log = structlog.get_logger(__name__)
is_stopping = False
_on_stop: list[Callable[[], None]] = []
_on_deadline: list[Callable[[], None]] = []


def on_stop(act: Callable[[], None]) -> Callable[[], None]:
    """Register what is done the moment the worker is told to stop."""
    _on_stop.append(act)
    return act


def on_deadline(act: Callable[[], None]) -> Callable[[], None]:
    """Register what ends the work that is still open when the time is over."""
    _on_deadline.append(act)
    return act


def listen() -> None:
    """Take SIGTERM over from the server, which hears SIGINT the same way; call it in the loop, after the server did."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, begin)


def begin() -> None:
    """Stop. A second time does no harm."""
    global is_stopping
    if is_stopping:
        return
    is_stopping = True
    log.info("stopping", within_seconds=settings.DRAIN_SECONDS)
    for act in _on_stop:
        act()
    asyncio.get_running_loop().call_later(settings.DRAIN_SECONDS, _end)
    signal.raise_signal(signal.SIGINT)


def _end() -> None:
    for act in _on_deadline:
        act()
