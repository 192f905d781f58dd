"""The vector of a question, from whichever embedder the tenant chose: in the process, or at a provider.

Invariant: a request waits for its vector a bounded time and then goes on without; the name of the space that a vector
lies in goes into its scope, so that vectors of two embedders never meet.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from caching.circuit import Circuit, Unavailable
from caching.embedders.base import EmbedderMissing, Vector
from caching.embedders.registry import ready_minilm
from caching.metrics import EMBEDDING

# How long a look-up waits for an embedder in the process: usually the least, at most the most. It is the budget of a
# queue, not of one text (3 ms): whoever would wait longer goes without the cache.
LEAST_SECONDS, TIMEOUT_SECONDS = 0.015, 0.1
# What is embedded beside a request may take longer.
BACKGROUND_TIMEOUT_SECONDS = 15.0

# Why there is no vector: none of them is an error of the request.
NO_VECTOR = (EmbedderMissing, Unavailable, UnicodeError)


class TextEmbedder(Protocol):
    """What the cache needs of an embedder. `timeout_seconds` is how long a request waits for one in a circuit of its own."""

    @property
    def name(self) -> str: ...

    @property
    def circuit(self) -> Circuit | None: ...

    @property
    def timeout_seconds(self) -> float | None: ...

    def truncates(self, text: str) -> bool:
        """Whether the text is longer than what the embedder reads."""
        ...

    def kept(self, text: str) -> Vector | None:
        """The text's vector if it is still in memory."""
        ...

    async def embed_one(self, text: str) -> Vector:
        """The text's unit vector. Work under way goes on when the caller goes."""
        ...

    def space_of(self, vector: Vector) -> str:
        """The name of what the vector may be compared with: it says model, precision and dimensions."""
        ...


# Finds an embedder by the name that a policy calls it; raises EmbedderMissing.
FindEmbedder = Callable[[str], Awaitable[TextEmbedder]]

_arithmetic = Circuit(
    "embedder",
    timeout_seconds=TIMEOUT_SECONDS,
    least_seconds=LEAST_SECONDS,
    probe=ready_minilm,
    outages=(EmbedderMissing,),
)


async def for_request(embedder: TextEmbedder, text: str) -> Vector:
    """The text's vector while a request waits for it; raises one of NO_VECTOR."""
    if (kept := embedder.kept(text)) is not None:
        return kept
    circuit = embedder.circuit or _arithmetic
    with EMBEDDING.time():
        return await circuit.call(lambda: embedder.embed_one(text), timeout_seconds=embedder.timeout_seconds)


async def in_background(embedder: TextEmbedder, text: str) -> Vector:
    """The same while nobody waits."""
    circuit = embedder.circuit
    if circuit is None:
        return await embedder.embed_one(text)
    if (kept := embedder.kept(text)) is not None:
        return kept
    # one that is left out comes back when it is quick enough for requests
    timeout = embedder.timeout_seconds if circuit.is_open else BACKGROUND_TIMEOUT_SECONDS
    return await circuit.call(lambda: embedder.embed_one(text), timeout_seconds=timeout)
