"""One connection to Redis that all calls of an event loop share: what they send in one turn of the loop leaves in one write.

Invariant: replies come in the order of the commands, also for commands that nobody waits for any more. What waits is
bounded, in number and bytes. While Redis is away a command fails at once, and a new connection is tried after a short
pause. Every failure is a RedisError. For pub/sub, scans and transactions there is redis-py (`resources.redis`).
"""

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

Word = str | bytes | int | float

ANSWER_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 2.0  # a connection that answers nothing for this long is given up
MOST_WAITING: Final = 10_000
MOST_WAITING_BYTES: Final = 16_000_000
LEAST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5  # before Redis is tried again

_ERRORS: Final = {"NOSCRIPT": NoScriptError, "READONLY": ReadOnlyError, "LOADING": BusyLoadingError}
# When the event loop itself was late, the reply may be here together with the timer: a few turns to read it.
_TURNS_OF_GRACE: Final = 4
_NO_REPLY: Final = object()
_scripts: "list[Script]" = []


class NoAnswer(RedisTimeoutError, TimeoutError):
    """Redis did not answer in time."""


@dataclass(eq=False, slots=True)
class Script:
    """A Lua script, made at import. Each new connection loads all of them, so that a call sends only a digest."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        _scripts.append(self)


class RedisLink:
    """The connection of one event loop. It opens with the first command."""

    def __init__(self, url: str) -> None:
        self._address = _Address.of(url)
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: list[_Command] = []
        self._unsent_bytes = 0
        self._pause_seconds = LEAST_PAUSE_SECONDS
        self._not_before = 0.0
        self._is_closed = False

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def call(self, *words: Word, timeout_seconds: float = ANSWER_SECONDS) -> "asyncio.Future[Any]":
        """Send a command; await its reply. Raises RedisError, some of it already here.

        A command that is cancelled or takes too long may have been done.
        """
        loop = asyncio.get_running_loop()
        packed = _packed(words)
        self._check_room(len(packed), now=loop.time())
        command = _Command(packed, loop.create_future())
        command.timer = loop.call_later(timeout_seconds, self._expire, command)
        self._unsent.append(command)
        self._unsent_bytes += len(packed)
        if self._connection is None:
            if self._connecting is None:
                self._connecting = loop.create_task(self._connect())
        elif len(self._unsent) == 1:
            loop.call_soon(self._flush)
        return command.reply

    async def run(
        self,
        script: Script,
        *,
        keys: Sequence[str] = (),
        arguments: Iterable[Word] = (),
        timeout_seconds: float = ANSWER_SECONDS,
    ) -> Any:
        """The result of a script, as `call` has it. Its text goes out only if Redis has lost it."""
        words: tuple[Word, ...] = (len(keys), *keys, *arguments)
        try:
            return await self.call("EVALSHA", script.digest, *words, timeout_seconds=timeout_seconds)
        except NoScriptError:
            return await self.call("EVAL", script.text, *words, timeout_seconds=timeout_seconds)

    async def ping(self, *, timeout_seconds: float = ANSWER_SECONDS) -> None:
        await self.call("PING", timeout_seconds=timeout_seconds)

    async def aclose(self) -> None:
        """Close; what still waits fails."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.give_up("closed")
        self._fail_unsent("closed")

    def _check_room(self, size: int, *, now: float) -> None:
        if self._is_closed:
            raise ConnectionError("The connection to Redis is closed.")
        if self._connection is None and now < self._not_before:
            raise ConnectionError("Redis is away.")
        waiting, waiting_bytes = len(self._unsent), self._unsent_bytes
        if self._connection is not None:
            waiting += len(self._connection.waiting)
            waiting_bytes += self._connection.waiting_bytes
        if waiting >= MOST_WAITING or waiting_bytes + size > MOST_WAITING_BYTES:
            raise ConnectionError("Too much waits for Redis.")

    def _flush(self) -> None:
        if self._connection is not None:
            self._connection.send([command for command in self._unsent if not command.reply.done()])
            self._unsent, self._unsent_bytes = [], 0

    async def _connect(self) -> None:
        connection = _Connection(self)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._address.open(connection)
                await connection.greet(self._address.greetings())
            self._connection, self._pause_seconds = connection, LEAST_PAUSE_SECONDS
            self._flush()
        except (RedisError, OSError) as error:
            self._pause()
            self._fail_unsent(str(error) or "Redis did not answer.")
        finally:
            self._connecting = None
            if self._connection is not connection:
                connection.give_up("not connected")

    def lost(self, connection: "_Connection", *, pauses: bool) -> None:
        """The connection is gone; with the next command there will be another one."""
        if connection is not self._connection:
            return
        self._connection = None
        if pauses:
            self._pause()
        self._fail_unsent("The connection to Redis was lost.")

    def _pause(self) -> None:
        self._not_before = asyncio.get_running_loop().time() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)

    def _fail_unsent(self, why: str) -> None:
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        for command in unsent:
            command.end(ConnectionError(why))

    def _expire(self, command: "_Command", turns: int = _TURNS_OF_GRACE) -> None:
        if command.reply.done():
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._expire, command, turns - 1)
            return
        command.reply.set_exception(NoAnswer("Redis did not answer in time."))
        if self._connection is not None and self._connection.silent_seconds() > SILENCE_SECONDS:
            self._connection.give_up("Redis does not answer.", pauses=True)


@dataclass(eq=False, slots=True)
class _Command:
    packed: bytes
    reply: "asyncio.Future[Any]"
    timer: asyncio.TimerHandle | None = None

    def end(self, reply: object) -> None:
        """Hand the reply to the one who waits, if it still waits."""
        if self.timer is not None:
            self.timer.cancel()
        if self.reply.done():
            return
        if isinstance(reply, Exception):
            self.reply.set_exception(reply)
        else:
            self.reply.set_result(reply)


class _Connection(asyncio.Protocol):
    """One TCP connection, from its opening to its loss."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=_error, notEnoughData=_NO_REPLY)
        self._last_heard = self._loop.time()
        self.waiting: deque[_Command] = deque()
        self.waiting_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def greet(self, greetings: list[tuple[Word, ...]]) -> None:
        """Say who we are, and load the scripts. Raises what stands in the way."""
        loads = [("SCRIPT", "LOAD", script.text) for script in _scripts]
        commands = [
            _Command(_packed(words), self._loop.create_future()) for words in (*greetings, ("PING",), *loads)
        ]
        self.send(commands)
        replies = await asyncio.gather(*(command.reply for command in commands), return_exceptions=True)
        for reply in replies[: -len(loads) or None]:  # a script that is refused here goes out as a text
            if isinstance(reply, BaseException):
                raise reply

    def send(self, commands: list[_Command]) -> None:
        if not commands or self._transport is None:
            return
        if not self.waiting:
            self._last_heard = self._loop.time()
        self.waiting.extend(commands)
        packed = [command.packed for command in commands]
        self.waiting_bytes += sum(map(len, packed))
        self._transport.writelines(packed)

    def data_received(self, data: bytes) -> None:
        self._last_heard = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NO_REPLY:
                command = self.waiting.popleft()
                self.waiting_bytes -= len(command.packed)
                command.end(reply)
                if isinstance(reply, ReadOnlyError):  # a replica by now: the address may lead to its master
                    return self.give_up(str(reply), pauses=True)
        except (hiredis.ProtocolError, IndexError) as error:
            self.give_up(f"Redis sent no reply of its protocol: {error}", pauses=True)

    def connection_lost(self, error: Exception | None) -> None:
        self.give_up(str(error or "Redis closed the connection."))

    def silent_seconds(self) -> float:
        """For how long it has owed a reply and sent nothing."""
        return self._loop.time() - self._last_heard if self.waiting else 0.0

    def give_up(self, why: str, *, pauses: bool = False) -> None:
        """End it; what waits for a reply fails. Idempotent."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        waiting, self.waiting, self.waiting_bytes = self.waiting, deque(), 0
        for command in waiting:
            command.end(ConnectionError(why))
        self._link.lost(self, pauses=pauses)


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a Redis is, as its URL says, in the terms of redis-py."""

    options: dict[str, Any] = field(repr=False)
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> "_Address":
        options = cast(dict[str, Any], parse_url(url))
        if options.get("connection_class") is not SSLConnection:
            return cls(options, None)
        about_tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        return cls(options, SSLConnection(**about_tls).ssl_context.get())

    async def open(self, protocol: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        if path := self.options.get("path"):
            await loop.create_unix_connection(lambda: protocol, path)
            return
        host, port = self.options.get("host", "localhost"), self.options.get("port", 6379)
        await loop.create_connection(lambda: protocol, host, port, ssl=self.tls)

    def greetings(self) -> list[tuple[Word, ...]]:
        """What a new connection says first."""
        said: list[tuple[Word, ...]] = []
        if password := self.options.get("password"):
            username = self.options.get("username")
            said.append(("AUTH", username, password) if username else ("AUTH", password))
        if db := self.options.get("db"):
            said.append(("SELECT", db))
        return said


def _packed(words: tuple[Word, ...]) -> bytes:
    return bytes(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub means one word


def _error(text: str) -> RedisError:
    return _ERRORS.get(text.partition(" ")[0], ResponseError)(text)
