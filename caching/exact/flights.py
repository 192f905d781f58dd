"""Single flight: equal requests that arrive at the same time are sent once. One leads, the others wait for its answer.

Invariant: a waiting request waits for a bounded time. It asks the provider itself when the leader has no answer to
share, dies or takes too long. Without Redis, requests of one process still share; other processes send their own.

Between processes the leader holds a lock in Redis, which it renews. When it ends, it publishes its result on one
channel, if a process waits. Within a process all requests wait for the same future.
"""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from redis.exceptions import RedisError

from caching.answers import CachedAnswer
from caching.exact import store as exact
from caching.exact.store import ExactKey
from caching.metrics import FLIGHTS, STORED
from config import resources
from config.redis_link import Script

# A leader that has not renewed its lock for this long is dead.
LOCK_SECONDS = 4.0
RENEWAL_SECONDS = 1.0
# The channel notifies immediately. Polling is for messages that were lost with a connection.
POLL_SECONDS = 0.5
_CHANNEL = "purser:result"

# Returns the answer if there is one; 1 if the caller leads from now on; 0 if it has to wait.
_READ_OR_LEAD: Final = Script("""
local answer = redis.call('GET', KEYS[1])
if answer then return answer end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
redis.call('SET', KEYS[3], 1, 'PX', ARGV[2])
return 0
""")
# Keeps the answer, if there is one, and ends the flight whether or not that works.
_LAND: Final = Script("""
local kept = ARGV[4] ~= '' and redis.pcall('SET', KEYS[1], ARGV[4], 'EX', ARGV[5])
if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('DEL', KEYS[2])
    if redis.call('DEL', KEYS[3]) == 1 then redis.call('PUBLISH', ARGV[2], ARGV[3] .. KEYS[1]) end
end
return kept
""")
log = structlog.get_logger("purser.cache")


@dataclass(eq=False, slots=True)
class Flight:
    """One request in progress, shared by all equal requests. A caller that receives it leads, and must `publish`."""

    key: ExactKey
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    answer: "asyncio.Future[CachedAnswer | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    notified: asyncio.Event = field(default_factory=asyncio.Event)
    is_leader: bool = False
    is_without_answer: bool = False

    @property
    def lock(self) -> str:
        return f"{self.key.name}:flight"

    @property
    def waiting(self) -> str:
        return f"{self.key.name}:waiting"

    async def publish(self, answer: CachedAnswer | None, *, is_kept: bool = False) -> None:
        """End the flight. `is_kept`: the answer is in Redis for the other processes. Never raises. Idempotent."""
        was_leader, self.is_leader = self.is_leader, False
        self.end(answer)
        if was_leader:
            await exact.write(lambda seconds: _land(self, seconds, is_kept=is_kept))

    async def keep(self, answer: CachedAnswer, *, ttl_seconds: int) -> None:
        """End the flight, and keep its answer for equal requests to come: one round trip. Never raises."""
        was_leader, self.is_leader = self.is_leader, False
        self.end(answer)
        packed = exact.packed_for(self.key, answer)
        if packed or was_leader:
            is_done = await exact.write(
                lambda seconds: _land(
                    self, seconds, packed=packed, ttl_seconds=ttl_seconds, is_kept=bool(packed)
                )
            )
            STORED.add("exact", amount=is_done and bool(packed))

    def end(self, answer: CachedAnswer | None) -> None:
        """Wake the requests that wait in this process."""
        if flights_here.get(self.key.name) is self:
            del flights_here[self.key.name]
        if not self.answer.done():
            self.answer.set_result(answer)


flights_here: dict[str, Flight] = {}


async def find(key: ExactKey, *, timeout_seconds: float) -> CachedAnswer | Flight | None:
    """The stored answer or the one of an equal request in progress; otherwise a Flight that the caller leads.

    None: an equal request ended without an answer to share, or took too long. Then ask without leading.
    """
    if timeout_seconds <= 0:
        return await exact.get(key)
    ends = time.monotonic() + timeout_seconds
    flight = flights_here.get(key.name)
    if flight is not None and flight.answer.get_loop() is asyncio.get_running_loop():
        await asyncio.wait({flight.answer}, timeout=timeout_seconds)
        answer = flight.answer.result() if flight.answer.done() else None
        _count("shared" if answer else "in_vain", key, answer)
        return answer
    flight = flights_here[key.name] = Flight(key)
    try:
        return await _find(flight, ends)
    finally:
        if not flight.is_leader:
            flight.end(None)


async def _find(flight: Flight, ends: float) -> CachedAnswer | Flight | None:
    has_waited = False
    while True:
        answer, leads = await exact.get_or(
            flight.key, lambda seconds: _read_or_lead(flight, seconds), is_counted=not has_waited
        )
        if answer is not None:
            flight.end(answer)
            if has_waited:
                _count("shared", flight.key, answer)
            return answer
        if leads:
            flight.is_leader = True
            _count("led", flight.key)
            return flight
        has_waited = True
        if not await _wait_for_result(flight, ends):
            _count("in_vain", flight.key)
            return None


async def _wait_for_result(flight: Flight, ends: float) -> bool:
    """Wait for the leader in another process. Returns whether to look for the answer again."""
    while (left := ends - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(min(left, POLL_SECONDS)):
                await flight.notified.wait()
            flight.notified.clear()
            return not flight.is_without_answer
        except TimeoutError:
            if not await exact.exists(flight.lock):
                return True  # it ended without a message, or died: then another request leads
    return False


async def _read_or_lead(flight: Flight, seconds: float) -> bytes | bool:
    keys = (flight.key.name, flight.lock, flight.waiting)
    arguments = (flight.token, int(LOCK_SECONDS * 1000))
    found = await resources.redis_link.run(
        _READ_OR_LEAD, keys=keys, arguments=arguments, timeout_seconds=seconds
    )
    return found if isinstance(found, bytes) else bool(found)


async def _land(
    flight: Flight, seconds: float, *, is_kept: bool, packed: bytes = b"", ttl_seconds: int = 0
) -> None:
    await resources.redis_link.run(
        _LAND,
        keys=(flight.key.name, flight.lock, flight.waiting),
        arguments=(flight.token, _CHANNEL, int(is_kept), packed, ttl_seconds),
        timeout_seconds=seconds,
    )


@resources.service
async def listen_for_results() -> None:
    """Runs while the process serves: receives the results that other processes publish."""
    while True:
        try:
            async with resources.redis.pubsub() as channel:
                await channel.subscribe(_CHANNEL)
                while True:
                    message = await channel.get_message(ignore_subscribe_messages=True, timeout=1.0)
                    if message:
                        _note_result(message["data"])
        except (RedisError, OSError) as error:
            log.debug("flight results are not received", kind=type(error).__name__)
            await asyncio.sleep(1)


@resources.service
async def renew_locks() -> None:
    """Runs while the process serves: renews the locks of its leaders."""
    while True:
        await asyncio.sleep(RENEWAL_SECONDS)
        leading = [flight.lock for flight in flights_here.values() if flight.is_leader]
        if leading:
            await exact.write(partial(_renew, leading))


async def _renew(locks: list[str], seconds: float) -> None:
    link, milliseconds = resources.redis_link, int(LOCK_SECONDS * 1000)
    await asyncio.gather(
        *(link.call("PEXPIRE", lock, milliseconds, timeout_seconds=seconds) for lock in locks)
    )


def _note_result(message: bytes) -> None:
    text = message.decode()
    if (flight := flights_here.get(text[1:])) is not None and not flight.is_leader:
        flight.is_without_answer = text[0] == "0"
        flight.notified.set()


def _count(outcome: str, key: ExactKey, answer: CachedAnswer | None = None) -> None:
    FLIGHTS.add(outcome)
    if outcome == "shared" and answer is not None:
        exact.record_shared(key)
