"""A tap between the gateway and the sandbox: what the provider says passes when the test lets it, piece by piece.

Invariant: the bytes are the sandbox's own, in their order; a piece is one chunk of the provider's HTTP stream, which is
one event where the sandbox drips. What was passed on is counted; nothing depends on time.
"""

import asyncio
import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

PATIENCE_SECONDS = 60


class Tap:
    """One tap on an address of its own. It starts shut; requests always pass."""

    def __init__(self, upstream_url: str) -> None:
        address = urlsplit(upstream_url)
        self._upstream = (address.hostname, address.port)
        self._loop = asyncio.new_event_loop()
        self._allowed: float = 0
        self._more_is_allowed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._in_loop(self._serve()).result(PATIENCE_SECONDS)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.pieces_passed = 0
        self.bytes_of_flood = 0
        self._flood_bytes = 0

    def let(self, pieces: int = 1) -> None:
        """Let so many more pieces of each answer through."""
        self._allow(self._allowed + pieces)

    def open(self) -> None:
        """Let everything through from now on."""
        self._allow(math.inf)

    def _allow(self, pieces: float) -> None:
        self._allowed = pieces
        self._loop.call_soon_threadsafe(self._more_is_allowed.set)

    def flood(self, size: int) -> None:
        """After the next piece, add up to `size` bytes of comments, as fast as they are taken."""
        self._flood_bytes = size

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._in_loop(end()).result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    def _in_loop(self, work) -> "Future":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connect, "127.0.0.1", 0, backlog=4096)

    async def _connect(self, from_gateway: asyncio.StreamReader, to_gateway: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        from_provider, to_provider = await asyncio.open_connection(*self._upstream, limit=1 << 20)
        requests = asyncio.create_task(_copy(from_gateway, to_provider))
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._pass_answer(from_provider, to_gateway)
        finally:
            requests.cancel()
            to_provider.transport.abort()
            to_gateway.close()

    async def _pass_answer(self, provider: asyncio.StreamReader, gateway: asyncio.StreamWriter) -> None:
        head = await provider.readuntil(b"\r\n\r\n")
        gateway.write(head)
        if b"transfer-encoding: chunked" in head.lower():
            number = 1
            while await self._pass_piece(provider, gateway, number):
                number += 1
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        await self._turn(1)
        gateway.write(await provider.readexactly(length))
        await gateway.drain()

    async def _pass_piece(
        self, provider: asyncio.StreamReader, gateway: asyncio.StreamWriter, number: int
    ) -> bool:
        size = await provider.readuntil(b"\r\n")
        content = await provider.readexactly(int(size, 16) + 2)
        await self._turn(number)
        gateway.write(size + content)
        self.pieces_passed += 1
        await gateway.drain()
        flood_bytes, self._flood_bytes = self._flood_bytes, 0
        comment = b": " + b"x" * 16_380 + b"\n\n"
        for _ in range(flood_bytes // len(comment)):
            gateway.write(b"%x\r\n%b\r\n" % (len(comment), comment))
            await gateway.drain()
            self.bytes_of_flood += len(comment)
        return len(content) > 2

    async def _turn(self, number: int) -> None:
        while number > self._allowed:
            self._more_is_allowed.clear()
            await self._more_is_allowed.wait()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while content := await reader.read(1 << 16):
            writer.write(content)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@contextmanager
def tapped(upstream_url: str) -> Iterator[Tap]:
    """A tap in front of an address, closed with the block."""
    tap = Tap(upstream_url)
    try:
        yield tap
    finally:
        tap.close()
