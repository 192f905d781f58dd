"""Embeds the texts that wait at the same time in one call, in a worker thread.

Invariant: the event loop never waits for the computation. A tenant's equal texts are embedded once; what one tenant has
asked makes no other one's text faster. A text that fails fails nobody else's, and one whose callers are all gone is not
begun.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

from django.conf import settings

from caching.embedders.base import Embedder, Vector
from caching.embedders.waiting import Key, WaitingText, WaitingTexts
from caching.metrics import EMBED_GROUP_TEXTS


@dataclass(slots=True)
class _Wanted:
    """A text that waits or is being computed, and how many want its vector."""

    waiting: WaitingText
    future: "asyncio.Future[Vector]"
    callers: int = 0


class BatchingEmbedder:
    """An embedder for async callers: texts that wait at the same time are embedded in one call of a worker thread.

    The next group forms while the previous one is computed; the first one is gathered for `gather_seconds`, by default
    not at all. The vectors of the last `kept` texts stay in memory (1.5 kB each). Serves one event loop at a time.
    """

    circuit = None  # the embedders in the process share one
    timeout_seconds = None

    def __init__(
        self,
        embedder: Embedder,
        *,
        kept: int = 4096,
        group_texts: int | None = None,
        gather_seconds: float | None = None,
    ) -> None:
        self.embedder = embedder
        self._kept: OrderedDict[Key, Vector] = OrderedDict()
        self._capacity = kept
        self._group_texts = settings.EMBED_GROUP_TEXTS if group_texts is None else group_texts
        self._gather_seconds = settings.EMBED_GATHER_MS / 1000 if gather_seconds is None else gather_seconds
        self._wanted: dict[Key, _Wanted] = {}
        self._waiting = WaitingTexts(group_texts=self._group_texts)
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

    def kept(self, text: str, *, tenant_id: int) -> Vector | None:
        """The text's vector if the tenant had it recently. Raises UnicodeEncodeError for text that is none."""
        key = (tenant_id, _digest(text))
        if (vector := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return vector

    def keep(self, text: str, vector: Vector, *, tenant_id: int) -> None:
        """Have a vector that is known already."""
        self._keep((tenant_id, _digest(text)), vector)

    async def embed_one(self, text: str, *, tenant_id: int) -> Vector:
        """The text's unit vector. Raises QueueFull. A cancelled caller does not affect others that want the same text."""
        if (vector := self.kept(text, tenant_id=tenant_id)) is not None:
            return vector
        self._begin()
        key = (tenant_id, _digest(text))
        if (wanted := self._wanted.get(key)) is None:
            waiting = WaitingText(key, text, self.embedder.tokens_of(text))
            self._waiting.add(waiting)
            wanted = self._wanted[key] = _Wanted(waiting, asyncio.get_running_loop().create_future())
        wanted.callers += 1
        try:
            return await asyncio.shield(wanted.future)
        finally:
            wanted.callers -= 1
            if not wanted.callers and not wanted.future.done():
                self._leave(wanted)

    def _begin(self) -> None:
        """Have a worker in this event loop; what waited in another one is gone with it."""
        loop = asyncio.get_running_loop()
        if self._worker is not None and not self._worker.done() and self._worker.get_loop() is loop:
            return
        self._wanted = {}
        self._waiting = WaitingTexts(group_texts=self._group_texts)
        self._worker = loop.create_task(self._work(self._waiting, self._wanted))

    def _leave(self, wanted: _Wanted) -> None:
        """All callers are gone. What is being computed is kept for who asks next."""
        if self._waiting.leave(wanted.waiting):
            self._wanted.pop(wanted.waiting.key, None)

    async def _work(self, waiting: WaitingTexts, all_wanted: dict[Key, _Wanted]) -> None:
        if self._gather_seconds:
            await asyncio.sleep(self._gather_seconds)
        while group := waiting.take():
            EMBED_GROUP_TEXTS.labels("process").observe(len(group))
            for one, outcome in zip(group, await self._outcomes(group), strict=True):
                wanted = all_wanted.pop(one.key)
                if isinstance(outcome, Exception):
                    wanted.future.set_exception(outcome)
                    wanted.future.exception()  # mark it as read: all callers may have been cancelled
                else:
                    self._keep(one.key, outcome)
                    wanted.future.set_result(outcome)

    async def _outcomes(self, group: list[WaitingText]) -> list[Vector | Exception]:
        """The vector of each text. If they fail together, each is tried alone."""
        loop = asyncio.get_running_loop()
        try:
            texts = [one.text for one in group]
            return list(await loop.run_in_executor(self._thread, self.embedder.embed, texts))
        except Exception as error:
            if len(group) == 1:
                return [error]
        return [outcome for one in group for outcome in await self._outcomes([one])]

    def _keep(self, key: Key, vector: Vector) -> None:
        self._kept[key] = vector
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


def _digest(text: str) -> bytes:
    """Raises UnicodeEncodeError for text with lone surrogates."""
    return blake2b(text.encode(), digest_size=16).digest()
