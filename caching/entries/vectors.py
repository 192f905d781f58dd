"""Gets the vector of a question from the tenant's embedder, in the process or at a provider.

Invariant: a request waits for its vector for a bounded time, and then goes on without it. The name of the vector's
space is part of its scope: vectors of different embedders are never compared.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from caching.circuit import Circuit, Unavailable
from caching.embedders.base import EmbedderMissing, Vector
from caching.embedders.registry import ready_minilm
from caching.metrics import EMBEDDING

# How long a look-up waits for an embedder in the process: the limits of the adaptive timeout. It covers the queue, not
# only one text (3 ms). A request that would wait longer goes on without the cache.
LEAST_SECONDS, TIMEOUT_SECONDS = 0.015, 0.1
# Embedding in the background may take longer.
BACKGROUND_TIMEOUT_SECONDS = 15.0

# Why there may be no vector. None of them is an error of the request.
NO_VECTOR = (EmbedderMissing, Unavailable, UnicodeError)


class TextEmbedder(Protocol):
    """What the cache needs from an embedder.

    One with its own `circuit` has its own `timeout_seconds`: how long a request waits for it.
    """

    @property
    def name(self) -> str: ...

    @property
    def circuit(self) -> Circuit | None: ...

    @property
    def timeout_seconds(self) -> float | None: ...

    def truncates(self, text: str) -> bool:
        """Whether the text is longer than what the embedder reads."""
        ...

    def kept(self, text: str, *, tenant_id: int) -> Vector | None:
        """The text's vector if the tenant had it recently."""
        ...

    async def embed_one(self, text: str, *, tenant_id: int) -> Vector:
        """The text's unit vector. Work that has begun goes on when the caller is cancelled."""
        ...

    def space_of(self, vector: Vector) -> str:
        """The name of the vector's space: model, precision and dimensions. Only vectors of one space are compared."""
        ...


# Finds an embedder by its name in a policy; raises EmbedderMissing.
FindEmbedder = Callable[[str], Awaitable[TextEmbedder]]

arithmetic = Circuit(
    "embedder",
    timeout_seconds=TIMEOUT_SECONDS,
    least_seconds=LEAST_SECONDS,
    probe=ready_minilm,
    outages=(EmbedderMissing,),
)


async def for_request(embedder: TextEmbedder, text: str, *, tenant_id: int) -> Vector:
    """The vector of a tenant's text, while a request waits for it. Raises one of NO_VECTOR."""
    if (kept := embedder.kept(text, tenant_id=tenant_id)) is not None:
        return kept
    circuit = embedder.circuit or arithmetic
    work = partial(embedder.embed_one, text, tenant_id=tenant_id)
    with EMBEDDING.time():
        return await circuit.call(work, timeout_seconds=embedder.timeout_seconds)


async def in_background(embedder: TextEmbedder, text: str, *, tenant_id: int) -> Vector:
    """The vector of a tenant's text, while no request waits for it. Raises one of NO_VECTOR."""
    circuit = embedder.circuit
    work = partial(embedder.embed_one, text, tenant_id=tenant_id)
    if circuit is None:
        return await work()
    if (kept := embedder.kept(text, tenant_id=tenant_id)) is not None:
        return kept
    # an open circuit closes only when the embedder is fast enough for requests
    timeout = embedder.timeout_seconds if circuit.is_open else BACKGROUND_TIMEOUT_SECONDS
    return await circuit.call(work, timeout_seconds=timeout)
