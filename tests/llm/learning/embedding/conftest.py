"""Embedding models at accounts of their own, and tenants whose semantic cache uses them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from tests.stack import Stack
from tests.world import Deployment, Member, declare_deployment

T = TypeVar("T")

USD_PER_MILLION = "0.02"


@pytest.fixture
def make_embedder(stack: Stack, committed: None) -> Callable[..., Deployment]:
    """Declare an embedding model at an account whose calls the sandbox's log tells apart."""

    def make(*, base_url: str = "", timeouts: dict[str, float] | None = None, **model: Any) -> Deployment:
        from llm.configuration import apply_configuration

        deployment, document = declare_deployment(stack.sandbox_url, base_url=base_url, timeouts=timeouts)
        declared = {
            "name": deployment.model,
            "provider": deployment.provider,
            "kind": "embedding",
            "upstream": "text-embedding-3-small",
            "context_window": 8191,
            "prices": [{"meter": "input", "usd_per_million": USD_PER_MILLION}],
        }
        document["models"] = [declared | model]
        apply_configuration(json.dumps(document), source="embedder.yaml", environ={}, dry_run=False)
        return deployment

    return make


def static(embedder: str, **changes: Any) -> dict[str, Any]:
    """The policy of a tenant that serves by similarity alone."""
    return {"cache": {"semantic": "static", "threshold": 0.7, "embedder": embedder, **changes}}


def in_the_product(work: Callable[[], Awaitable[T]]) -> T:
    """Do async work as a worker does, with its resources, and wait for all that it began."""
    from config.resources import resources

    async def main() -> T:
        async with resources():
            return await work()

    return asyncio.run(main())


async def embedder_of(member: Member, model: str) -> Any:
    """The embedder as a request of the member's key would have it."""
    from uuid import uuid4

    from llm.calls.own_calls import OnBehalfOf
    from llm.catalog.loading import load_snapshot
    from llm.learning.embedding.remote import find_embedder
    from tenants.principal import Principal
    from tenants.snapshots.store import SnapshotCache

    snapshot = await SnapshotCache(load_snapshot).get(member.id)
    [key] = snapshot.tenant.keys.values()
    principal = Principal(member.id, member.slug, key.id, key.name, key.public_id)
    return await find_embedder(OnBehalfOf(principal, snapshot, uuid4()), model)
