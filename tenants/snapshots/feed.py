"""News of changed configuration: one connection per process that listens on `purser_config`.

Invariant: while `is_listening`, every committed change reaches every subscriber, usually within
milliseconds; around each gap in the connection subscribers are told `*`, because messages may be lost.
Who caches configuration asks `is_listening` and trusts its memory for a second only when it is False.
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
    """Passes the payloads of the channel, a tenant's id or `*`, to its subscribers on the event loop."""

    def __init__(self) -> None:
        self.is_listening = False
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber(payload)` called for each message. It must not block."""
        self._subscribers.append(subscriber)

    async def listen(self) -> None:
        """Listen until cancelled, coming back with backoff after each loss of the connection."""
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
        """Tell the subscribers of this process."""
        for subscriber in self._subscribers:
            subscriber(payload)

    async def _connect(self) -> AsyncConnection:
        # Beside the pool: it is kept for the life of the process, and needs no role to listen.
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
            async with asyncio.timeout(_ANSWER_SECONDS):  # a peer that vanished answers nothing
                await connection.execute("SELECT 1")

    def _set_listening(self, is_listening: bool) -> None:
        if is_listening != self.is_listening:
            self.is_listening = is_listening
            self.publish(EVERYTHING)


# The feed of this process, heard while resources are open.
config_feed = ConfigFeed()
resources.service(config_feed.listen)
