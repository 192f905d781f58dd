"""The ORM beside an event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

from django.db import connections


async def in_thread(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run ORM code beside the event loop, and give its connections back."""

    def run() -> Any:
        try:
            return work(*args, **options)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)
