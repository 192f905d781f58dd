"""Groups texts that wait for vectors of one model into one call to the provider.

Invariant: a group is of one key, so of one tenant, and so are the vectors that stay in memory: a tenant cannot learn,
by time or by bill, what another one has asked. A caller that goes away disturbs no other, and its vector is kept.
"""

import asyncio
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

import structlog

from caching.embedders.base import Vector
from config import resources
from llm.calls.own_calls import OnBehalfOf
from llm.learning.embedding.calls import EmbeddingFailed, embed

# How long a group is gathered: little compared with the tens of milliseconds that a provider takes.
GATHER_SECONDS: Final = 0.003
MOST_TEXTS: Final = 32
# of one key and one model, in each process; while so many are under way the next group grows
MOST_CALLS: Final = 4
# 6 kB each at 1,536 dimensions
MOST_KEPT: Final = 2_048

_Key = tuple[int, int, str]

_kept: OrderedDict[tuple[int, str, bytes], Vector] = OrderedDict()
_queues: dict[_Key, "_Queue"] = {}

log = structlog.get_logger("purser.cache")


def kept(text: str, *, tenant_id: int, space: str) -> Vector | None:
    """The text's vector if the tenant had it recently. Raises UnicodeEncodeError for text that is none."""
    key = (tenant_id, space, _digest(text))
    if (vector := _kept.get(key)) is not None:
        _kept.move_to_end(key)
    return vector


async def embed_one(text: str, *, model: str, space: str, asker: OnBehalfOf) -> Vector:
    """The text's unit vector, computed together with those of the texts that wait. Raises EmbeddingFailed.

    `space` names the model, so that another one of the same name differs.
    """
    tenant_id = asker.principal.tenant_id
    if (vector := kept(text, tenant_id=tenant_id, space=space)) is not None:
        return vector
    loop = asyncio.get_running_loop()
    key = (tenant_id, asker.principal.key_id, space)
    queue = _queues.get(key)
    if queue is None or queue.loop is not loop:
        queue = _queues[key] = _Queue(loop, key, model)
    return await asyncio.shield(queue.future_of(text, asker))


class _Queue:
    """What one key wants of one model. It is gone once nothing waits and nothing is under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, key: _Key, model: str) -> None:
        self.loop = loop
        self._key, self._model = key, model
        self._futures: dict[bytes, asyncio.Future[Vector]] = {}  # waiting, or under way
        self._waiting: dict[bytes, tuple[str, OnBehalfOf]] = {}
        self._workers = 0
        self._is_gathering = False

    def future_of(self, text: str, asker: OnBehalfOf) -> "asyncio.Future[Vector]":
        digest = _digest(text)
        if (future := self._futures.get(digest)) is None:
            future = self._futures[digest] = self.loop.create_future()
            self._waiting[digest] = (text, asker)
            if not self._is_gathering and self._workers < MOST_CALLS:
                self._workers += 1
                self._is_gathering = True
                resources.background(self._work())
        return future

    async def _work(self) -> None:
        try:
            await asyncio.sleep(GATHER_SECONDS)
            self._is_gathering = False
            while self._waiting:
                digests = list(self._waiting)[:MOST_TEXTS]
                await self._embed({digest: self._waiting.pop(digest) for digest in digests})
        finally:
            self._workers -= 1
            if not self._futures and not self._workers and _queues.get(self._key) is self:
                del _queues[self._key]

    async def _embed(self, group: dict[bytes, tuple[str, OnBehalfOf]]) -> None:
        texts, askers = zip(*group.values(), strict=True)
        try:
            vectors = await embed(texts, model=self._model, askers=askers)
        except asyncio.CancelledError:
            self._cancel()
            raise
        except Exception as error:
            if not isinstance(error, EmbeddingFailed):
                log.exception("texts were not embedded")
            for digest in group:
                if future := self._futures.pop(digest, None):
                    future.set_exception(error)
                    future.exception()  # seen: the callers may all have gone
            return
        tenant_id, _, space = self._key
        for digest, vector in zip(group, vectors, strict=True):
            _keep((tenant_id, space, digest), vector)
            if future := self._futures.pop(digest, None):
                future.set_result(vector)

    def _cancel(self) -> None:
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
        self._waiting.clear()


def _keep(key: tuple[int, str, bytes], vector: Vector) -> None:
    _kept[key] = vector
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
