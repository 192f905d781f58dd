"""Tenants for the tests of the caches. Imports nothing of Django before the servers' addresses are known."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from caching.embedder_build import build

if TYPE_CHECKING:
    from caching.scope import Origin
    from tenants.models import Tenant


@pytest.fixture(scope="session", autouse=True)
def built_embedder() -> None:
    build()


@pytest.fixture
def make_tenant(committed: None) -> "Callable[..., Tenant]":
    from tenants.models import Tenant

    def make(**policy: Any) -> Tenant:
        name = f"cached-{secrets.token_hex(4)}"
        return Tenant.objects.create(slug=name, name=name, policy=policy)

    return make


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
