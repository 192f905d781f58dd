"""Groups texts that wait for vectors of one model into one call to the provider.

Invariant: a group is of one key, so of one tenant, and so are the vectors that stay in memory: a tenant cannot learn,
by time or by bill, what another one has asked. A text that the provider refuses fails no other one's. A caller that goes
away disturbs no other; a text that nobody wants any more is not sent.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import structlog
from django.conf import settings

from caching.embedders.base import Vector
from caching.metrics import EMBED_GROUP_TEXTS
from config import resources
from llm.calls.own_calls import OnBehalfOf
from llm.learning.embedding.calls import EmbeddingFailed, EmbeddingRefused, TextsRefused, embed

# A group that is longer than this is divided, so that a long text does not keep short ones waiting.
MOST_CHARACTERS: Final = 16_000
# of one key and one model
MOST_WAITING: Final = 256
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
    return await queue.vector_of(text, asker)


@dataclass(slots=True)
class _Wanted:
    """A text that waits or is under way, who asked first, and how many want its vector."""

    text: str
    asker: OnBehalfOf
    future: "asyncio.Future[Vector]"
    callers: int = 0


class _Queue:
    """What one key wants of one model. It is gone once nothing waits and nothing is under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, key: _Key, model: str) -> None:
        self.loop = loop
        self._key, self._model = key, model
        self._wanted: dict[bytes, _Wanted] = {}  # waiting, or under way
        self._waiting: OrderedDict[bytes, _Wanted] = OrderedDict()
        self._workers = 0
        self._is_gathering = False

    async def vector_of(self, text: str, asker: OnBehalfOf) -> Vector:
        digest = _digest(text)
        if (wanted := self._wanted.get(digest)) is None:
            if len(self._waiting) >= MOST_WAITING:
                raise EmbeddingRefused("too many texts wait")
            wanted = _Wanted(text, asker, self.loop.create_future())
            self._wanted[digest] = self._waiting[digest] = wanted
            if not self._is_gathering and self._workers < MOST_CALLS:
                self._workers += 1
                self._is_gathering = True
                resources.background(self._work())
        wanted.callers += 1
        try:
            return await asyncio.shield(wanted.future)
        finally:
            wanted.callers -= 1
            if not wanted.callers and self._waiting.get(digest) is wanted:
                del self._waiting[digest], self._wanted[digest]

    async def _work(self) -> None:
        try:
            await asyncio.sleep(settings.EMBED_CALL_GATHER_MS / 1000)
            self._is_gathering = False
            while group := self._next_group():
                EMBED_GROUP_TEXTS.labels("provider").observe(len(group))
                await self._embed(group)
        except asyncio.CancelledError:
            self._cancel()
            raise
        finally:
            self._workers -= 1
            if not self._wanted and not self._workers and _queues.get(self._key) is self:
                del _queues[self._key]

    def _next_group(self) -> dict[bytes, _Wanted]:
        """Those that have waited longest, while they fit in one call."""
        group: dict[bytes, _Wanted] = {}
        characters = 0
        while self._waiting and len(group) < settings.EMBED_CALL_TEXTS:
            digest, wanted = next(iter(self._waiting.items()))
            characters += len(wanted.text)
            if group and characters > MOST_CHARACTERS:
                break
            group[digest] = self._waiting.pop(digest)
        return group

    async def _embed(self, group: dict[bytes, _Wanted]) -> None:
        texts = [wanted.text for wanted in group.values()]
        try:
            vectors = await embed(
                texts, model=self._model, askers=[wanted.asker for wanted in group.values()]
            )
        except TextsRefused as error:
            if len(group) == 1:
                self._fail(group, error)
            for half in _halves(group):
                await self._embed(half)
            return
        except Exception as error:
            if not isinstance(error, EmbeddingFailed):
                log.exception("texts were not embedded")
            self._fail(group, error)
            return
        tenant_id, _, space = self._key
        for digest, vector in zip(group, vectors, strict=True):
            _keep((tenant_id, space, digest), vector)
            if wanted := self._wanted.pop(digest, None):
                wanted.future.set_result(vector)

    def _fail(self, group: Iterable[bytes], error: Exception) -> None:
        for digest in group:
            if wanted := self._wanted.pop(digest, None):
                wanted.future.set_exception(error)
                wanted.future.exception()  # seen: the callers may all have gone

    def _cancel(self) -> None:
        for wanted in self._wanted.values():
            wanted.future.cancel()
        self._wanted.clear()
        self._waiting.clear()


def _halves(group: dict[bytes, _Wanted]) -> list[dict[bytes, _Wanted]]:
    """None of a group of one: which text it is that is refused is then known."""
    items = list(group.items())
    middle = len(items) // 2
    return [dict(half) for half in (items[:middle], items[middle:]) if middle]


def _keep(key: tuple[int, str, bytes], vector: Vector) -> None:
    _kept[key] = vector
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
