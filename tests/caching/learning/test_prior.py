"""Where a scope's weights start from before it has labels of its own: its kin of the route, of the tenant, what is shipped."""

import os
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async

from caching.learning.evidence import start_weights
from caching.models import CacheScope
from caching.scoring.features import NAMES
from caching.scoring.verifier import Weights, shipped
from tenants.models import Tenant
from tenants.rls import tenant_connection

pytestmark = pytest.mark.usefixtures("orm_thread")

HERE = {"route": "gpt-4o//", "embedder": "minilm/int8", "scope": b"new", "labels": 0}


async def learnt(tenant: Tenant, number: float, **changes: Any) -> None:
    """A scope of the tenant whose weights are all `number`."""
    now = datetime.now(UTC)
    fields = {"route": "gpt-4o//", "embedder": "minilm/int8", "labels": 500} | changes
    await sync_to_async(CacheScope.objects.create)(
        tenant=tenant, scope_digest=os.urandom(32), weights=Weights(np.full(len(NAMES), number)).to_bytes(),
        max_error_rate=0.02, created_at=now, updated_at=now, **fields,
    )  # fmt: skip


async def start_of(tenant: Tenant) -> float:
    async with tenant_connection(tenant.pk) as connection:
        return float((await start_weights(connection, HERE | {"tenant": tenant.pk})).features[0])


async def test_it_is_the_nearest_kin_that_knows_enough(tenant: Tenant, outsider: Tenant) -> None:
    untaught = float(shipped().features[0])
    await learnt(outsider, 9.0)
    await learnt(tenant, 8.0, embedder="wordllama/256")
    await learnt(tenant, 7.0, labels=20)
    assert await start_of(tenant) == untaught
    await learnt(tenant, 1.0, route="gpt-4o-mini//", labels=400)
    await learnt(tenant, 2.0, route="claude-haiku-4-5//", labels=900)
    assert await start_of(tenant) == 2.0
    await learnt(tenant, 3.0, labels=350)
    assert await start_of(tenant) == 3.0
