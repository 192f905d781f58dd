"""Cancels the work for a client that hangs up.

Invariant: the work is cancelled immediately, and never after it has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def until_hang_up(receive: Callable[[], Awaitable[Any]]) -> Iterator[None]:
    """Do the work inside until the client hangs up: then it is cancelled, and this is left without an error. `receive` must
    have given the whole body: what it gives next is the disconnect."""
    task = asyncio.current_task()
    assert task is not None
    has_hung_up = is_over = False

    def cancel(_: Any) -> None:
        nonlocal has_hung_up
        if not is_over:
            has_hung_up = True
            task.cancel()

    listening = asyncio.ensure_future(receive())
    listening.add_done_callback(cancel)
    try:
        yield
    except asyncio.CancelledError:
        if not has_hung_up or task.cancelling() > 1:  # somebody else wants it to end
            raise
    finally:
        is_over = True
        listening.cancel()
        if has_hung_up:
            task.uncancel()
