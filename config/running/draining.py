"""Graceful shutdown of a worker: after SIGTERM it finishes open calls, until a deadline.

Invariant: after SIGTERM no new call begins. What is still open DRAIN_SECONDS later is ended by its registered function,
while there is still time to settle. The server stops accepting, waits for open connections, and ends the worker later.
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
    """Register a function that runs when the worker begins to stop."""
    _on_stop.append(act)
    return act


def on_deadline(act: Callable[[], None]) -> Callable[[], None]:
    """Register a function that ends the work still open at the deadline."""
    _on_deadline.append(act)
    return act


def listen() -> None:
    """Handle SIGTERM instead of the server, which handles SIGINT the same way. Call it in the loop, after the server has."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, begin)


def begin() -> None:
    """Begin to stop. Idempotent."""
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
