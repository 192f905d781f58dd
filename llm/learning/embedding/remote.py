"""An embedding model of the catalogue, as the semantic cache asks it: in the name of one request's key.

Invariant: the name of a space says which of our models, what its provider calls it, and of how many dimensions, so that
vectors of two models never meet; it says nothing of the account, so that those of one model do. A provider that fails is
left out by a circuit, which another text's own embedding closes again.
"""

import hashlib
import time
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

from django.conf import settings

from caching.circuit import Circuit
from caching.embedders.base import EmbedderMissing, Vector
from caching.embedders.registry import ready_embedder
from caching.entries.vectors import FindEmbedder, TextEmbedder
from llm.calls.own_calls import OnBehalfOf
from llm.learning.embedding import groups
from llm.learning.embedding.calls import AllowanceSpent, EmbeddingFailed, EmbeddingRefused
from llm.providers.target import Target
from llm.tokens.counting import count_text
from tenants.policy import LOCAL_EMBEDDERS

# Entries and scopes keep so much of a name.
LONGEST_NAME: Final = 100
_LONGEST_TOKEN_CHARACTERS = 20
# How long a tenant that has spent what it may is not even asked about.
SPENT_SECONDS: Final = 10.0

_circuits: dict[str, Circuit] = {}
_spent_until: dict[int, float] = {}


@dataclass(frozen=True, slots=True)
class RemoteEmbedder:
    """See `caching.entries.vectors.TextEmbedder`."""

    target: Target
    asker: OnBehalfOf

    @property
    def name(self) -> str:
        return space_name(self.target)

    def space_of(self, vector: Vector) -> str:
        return f"{self.name}/{len(vector)}"

    @property
    def timeout_seconds(self) -> float:
        policy = self.asker.snapshot.policy.cache
        return policy.embed_timeout_ms / 1000 * settings.CACHE_BUDGET_SCALE

    @property
    def circuit(self) -> Circuit:
        """One for each model in this process; the next text is what it is probed with."""
        if (circuit := _circuits.get(self.name)) is None:
            circuit = _circuits[self.name] = Circuit(
                f"embedder {self.target.model}",
                timeout_seconds=1.0,  # never used: who asks says how long
                probe=None,
                outages=(EmbeddingFailed,),
                no_outages=(EmbeddingRefused,),
            )
        return circuit

    def truncates(self, text: str) -> bool:
        window = self.target.context_window
        # a token has at least one byte, however it is counted
        if len(text.encode(errors="replace")) <= window // 2:
            return False
        if len(text) > _LONGEST_TOKEN_CHARACTERS * window:
            return True
        likely = self.asker.snapshot.estimates.likely_input_tokens(
            count_text(text, self.target.tokenizer),
            provider=self.target.provider,
            model=self.target.model,
            shape="text",
        )
        return likely > window

    def kept(self, text: str, *, tenant_id: int) -> Vector | None:
        return groups.kept(text, tenant_id=tenant_id, space=self.name)

    async def embed_one(self, text: str, *, tenant_id: int) -> Vector:
        assert tenant_id == self.asker.principal.tenant_id
        try:
            return await groups.embed_one(text, model=self.target.model, space=self.name, asker=self.asker)
        except AllowanceSpent:
            _spent_until[tenant_id] = time.monotonic() + SPENT_SECONDS
            raise


def space_name(target: Target) -> str:
    """Our name and the provider's, so that no two pairs run together."""
    name = ">".join(quote(part, safe="/:@+ ") for part in (target.model, target.upstream))
    name = f"remote:{name}"
    room = LONGEST_NAME - len("/4000")
    if len(name) <= room:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:24]
    return f"{name[: room - len(digest) - 1]}#{digest}"


def finder_for(asker: OnBehalfOf) -> FindEmbedder:
    """Finds the embedders that the asker's policy names."""
    return partial(find_embedder, asker)


async def find_embedder(asker: OnBehalfOf, choice: str) -> TextEmbedder:
    """The embedder of a name, in the process or in the catalogue; raises EmbedderMissing."""
    if choice in LOCAL_EMBEDDERS:
        return await ready_embedder(choice)
    target = asker.snapshot.catalog.targets.get(choice)
    if target is None or target.model_kind != "embedding":
        raise EmbedderMissing(f"there is no embedding model {choice}")
    tenant_id = asker.principal.tenant_id
    if (until := _spent_until.get(tenant_id)) is not None:
        if time.monotonic() < until:
            raise EmbedderMissing("embed_usd_per_day is spent")
        del _spent_until[tenant_id]
    return RemoteEmbedder(target, asker)
