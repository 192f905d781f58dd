"""A bounded queue to one client, between the reader of the provider and the writer to the client.

Invariant: it holds at most `most_bytes` and one chunk more, so that a client who does not read costs a bounded memory and
slows its provider down.
"""

import asyncio
from collections import deque


class Outbox:
    """One writer, one reader. `None` is the end."""

    __slots__ = ("_chunks", "_has_chunk", "_has_room", "_most_bytes", "_size")

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._chunks: deque[bytes | None] = deque()
        self._size = 0
        self._has_chunk = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def put(self, chunk: bytes | None, *, patience_seconds: float) -> None:
        """Add a chunk once there is room; raises TimeoutError when nothing was taken for so long."""
        if chunk is not None and not self._has_room.is_set():
            async with asyncio.timeout(patience_seconds):
                await self._has_room.wait()
        self._chunks.append(chunk)
        self._size += len(chunk or b"")
        self._has_chunk.set()
        if self._size >= self._most_bytes:
            self._has_room.clear()

    async def get(self) -> bytes | None:
        """The oldest chunk, once there is one."""
        await self._has_chunk.wait()
        chunk = self._chunks.popleft()
        self._size -= len(chunk or b"")
        if not self._chunks:
            self._has_chunk.clear()
        if self._size < self._most_bytes:
            self._has_room.set()
        return chunk

    def let_pass(self) -> None:
        """Make room for what little still comes: the end is near, and must not wait for the reader."""
        self._most_bytes = 1 << 62
        self._has_room.set()

    def drop(self) -> None:
        """Drop what waits, and let a writer that waits for room go on."""
        self._chunks.clear()
        self._size = 0
        self._has_chunk.clear()
        self._has_room.set()
