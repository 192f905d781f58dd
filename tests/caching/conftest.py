"""Tenants for the tests of the caches. Imports nothing of Django before the servers' addresses are known."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from caching.embedders.build import build
from tests.world import new_tenant

if TYPE_CHECKING:
    from caching.scope import Origin
    from tenants.models import Tenant


@pytest.fixture(scope="session", autouse=True)
def built_embedder() -> None:
    build()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that a busy machine keeps: no test here is about milliseconds unless it says so itself."""
    from caching.circuit import AdaptiveTimeout
    from caching.entries import search, vectors
    from caching.exact import store as exact
    from caching.semantic import cache as semantic

    for circuit in (exact.circuit, semantic.database, vectors.arithmetic):
        monkeypatch.setattr(circuit, "timeout", AdaptiveTimeout(least_seconds=10.0, most_seconds=10.0))
    monkeypatch.setattr(search, "STATEMENT_TIMEOUT_MS", 10_000)


@pytest.fixture
async def orm_thread(loop_resources: None) -> AsyncIterator[None]:
    """For tests that use the async ORM: the connection of its thread is closed again."""
    from asgiref.sync import sync_to_async
    from django.db import connections

    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def make_tenant(committed: None) -> "Callable[..., Tenant]":
    return lambda **policy: new_tenant("cached", policy=policy)


@pytest.fixture
def tenant(make_tenant: "Callable[..., Tenant]") -> "Tenant":
    return make_tenant()


@pytest.fixture
def outsider(make_tenant: "Callable[..., Tenant]") -> "Tenant":
    return make_tenant()


@pytest.fixture
def origin(tenant: "Tenant") -> "Origin":
    from tests.caching.material import origin_of

    return origin_of(tenant)
