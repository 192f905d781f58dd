"""Embeds the texts that wait at the same time in one call, in a worker thread.

Invariant: the event loop never waits for the computation. Equal texts are embedded once.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

from caching.embedders.base import Embedder, Vector


class BatchingEmbedder:
    """An embedder for async callers: texts that wait at the same time are embedded in one call of a worker thread.

    There is no timer: the next group forms while the previous one is computed. Equal texts are embedded once. The
    vectors of the last `kept` texts stay in memory (1.5 kB each). Serves one event loop at a time.
    """

    circuit = None  # the embedders in the process share one
    timeout_seconds = None

    def __init__(self, embedder: Embedder, *, kept: int = 4096, group_size: int = 32) -> None:
        self.embedder = embedder
        self._kept: OrderedDict[bytes, Vector] = OrderedDict()
        self._capacity = kept
        self._group_size = group_size
        self._waiting: dict[bytes, tuple[str, asyncio.Future[Vector]]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")

    @property
    def name(self) -> str:
        return self.embedder.name

    def space_of(self, vector: Vector) -> str:
        """The name of the vector space: only vectors of the same space are compared. Here the embedder's name."""
        return self.name

    def truncates(self, text: str) -> bool:
        """Whether the text is longer than what the embedder reads. Microseconds."""
        return self.embedder.truncates(text)

    def kept(self, text: str) -> Vector | None:
        """The text's vector if it is still in memory."""
        key = _key(text)
        if (vector := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return vector

    async def embed_one(self, text: str) -> Vector:
        """The text's unit vector. A cancelled caller does not affect others that wait for the same text."""
        if (vector := self.kept(text)) is not None:
            return vector
        key = _key(text)
        loop = asyncio.get_running_loop()
        if self._worker is None or self._worker.done() or self._worker.get_loop() is not loop:
            self._waiting = {}
            self._worker = None
        _, future = self._waiting.setdefault(key, (text, loop.create_future()))
        if self._worker is None:
            self._worker = loop.create_task(self._work(self._waiting))
        return await asyncio.shield(future)

    async def _work(self, waiting: dict[bytes, tuple[str, "asyncio.Future[Vector]"]]) -> None:
        loop = asyncio.get_running_loop()
        while waiting:
            keys = list(waiting)[: self._group_size]
            texts = [waiting[key][0] for key in keys]
            try:
                vectors = await loop.run_in_executor(self._thread, self.embedder.embed, texts)
            except Exception as error:
                for key in keys:
                    future = waiting.pop(key)[1]
                    future.set_exception(error)
                    future.exception()  # mark it as read: all callers may have been cancelled
                continue
            for key, vector in zip(keys, vectors, strict=True):
                waiting.pop(key)[1].set_result(vector)
                self._keep(key, vector)

    def _keep(self, key: bytes, vector: Vector) -> None:
        self._kept[key] = vector
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


def _key(text: str) -> bytes:
    """Raises UnicodeEncodeError for text with lone surrogates."""
    return blake2b(text.encode(), digest_size=16).digest()
