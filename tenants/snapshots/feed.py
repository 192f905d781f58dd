"""The feed of configuration changes: one connection per process that listens on `purser_config`.

Invariant: while `is_listening`, every committed change reaches every subscriber, usually within milliseconds. When the
connection is lost or made, subscribers receive `*` (everything changed), because messages may be lost. A cache of
configuration checks `is_listening`: while it is False, its entries live only one second.
"""

import asyncio
import random
from collections.abc import Callable

import structlog
from psycopg import AsyncConnection, Error

from config import resources
from tenants.rls import CHANNEL

EVERYTHING = "*"
_HEARTBEAT_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 5.0

log = structlog.get_logger(__name__)

Subscriber = Callable[[str], None]


class ConfigFeed:
    """Passes the channel's payloads (a tenant's id, or `*`) to its subscribers, on the event loop."""

    def __init__(self) -> None:
        self.is_listening = False
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber(payload)` for each message. It must not block."""
        self._subscribers.append(subscriber)

    async def listen(self) -> None:
        """Listen until cancelled. Reconnects with backoff."""
        failures = 0
        while True:
            try:
                async with await self._connect() as connection:
                    failures = 0
                    await self._listen_on(connection)
            except (Error, OSError, TimeoutError) as error:
                failures += 1
                log.warning("config_feed_lost", error=str(error).strip(), failures=failures)
            finally:
                self._set_listening(False)
            await asyncio.sleep(min(_LONGEST_WAIT_SECONDS, 0.1 * 2**failures) * random.uniform(0.5, 1))

    def publish(self, payload: str) -> None:
        """Notify the subscribers of this process."""
        for subscriber in self._subscribers:
            subscriber(payload)

    async def _connect(self) -> AsyncConnection:
        # Not from the pool: the connection lives as long as the process, and listening needs no role.
        async with asyncio.timeout(_ANSWER_SECONDS * 2):
            parameters = resources.db.kwargs
            assert isinstance(parameters, dict)
            return await AsyncConnection.connect(**parameters)

    async def _listen_on(self, connection: AsyncConnection) -> None:
        await connection.execute(f"LISTEN {CHANNEL}")
        self._set_listening(True)
        while True:
            async for notice in connection.notifies(timeout=_HEARTBEAT_SECONDS):
                self.publish(notice.payload)
            async with asyncio.timeout(_ANSWER_SECONDS):  # detects a connection that died silently
                await connection.execute("SELECT 1")

    def _set_listening(self, is_listening: bool) -> None:
        if is_listening != self.is_listening:
            self.is_listening = is_listening
            self.publish(EVERYTHING)


# The feed of this process. It listens while `resources` are open.
config_feed = ConfigFeed()
resources.service(config_feed.listen)
