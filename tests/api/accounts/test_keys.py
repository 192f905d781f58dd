"""Keys over HTTP: expiry, revocation, rotation, what they may use and from where; every change in every worker."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import openai
import pytest

from tests.api.conftest import ask
from tests.books import eventually
from tests.world import Member, World

CALLS = 16  # on connections of their own, so that both workers answer some


def statuses(world: World, key: str) -> set[tuple[int, str]]:
    """Status and error code of the same look-up on many fresh connections at one time."""

    async def look() -> set[tuple[int, str]]:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            return set(await asyncio.gather(*(one(session) for _ in range(CALLS))))

    async def one(session: aiohttp.ClientSession) -> tuple[int, str]:
        headers = {"x-api-key": key}
        async with session.get(f"{world.stack.base_url}/v1/models", headers=headers) as response:
            body = await response.json()
            return response.status, body["error"]["code"] if "error" in body else ""

    return asyncio.run(look())


def key_of(member: Member) -> Any:
    from tenants.models import ApiKey

    return ApiKey.objects.get(tenant=member.id)


def test_it_works(world: World) -> None:
    """Revoked in the admin, refused by every worker."""
    from tenants.keys.editing import revoke_key

    assert statuses(world, world.acme.key) == {(200, "")}
    revoke_key(key_of(world.acme), reason="lost laptop")
    seen = eventually(
        lambda: statuses(world, world.acme.key),
        until=lambda seen: seen == {(401, "revoked_api_key")},
        patience_seconds=10,
    )
    assert seen
    for _ in range(3):  # and it stays so
        assert statuses(world, world.acme.key) == {(401, "revoked_api_key")}


def test_a_key_expires_without_anybodys_help(world: World) -> None:
    from tenants.keys.editing import expire_key

    assert statuses(world, world.acme.key) == {(200, "")}
    expire_key(key_of(world.acme), at=datetime.now(UTC) + timedelta(seconds=1))
    eventually(lambda: statuses(world, world.acme.key) == {(401, "expired_api_key")})


def test_a_rotated_key_has_two_live_secrets(world: World) -> None:
    from tenants.keys.editing import end_grace, rotate_key

    key = key_of(world.acme)
    fresh = rotate_key(key)
    eventually(lambda: statuses(world, fresh) == {(200, "")})
    assert statuses(world, world.acme.key) == {(200, "")}
    end_grace(key)
    eventually(lambda: {status for status, _ in statuses(world, world.acme.key)} == {401})
    assert statuses(world, fresh) == {(200, "")}


def test_a_new_key_works_at_once(world: World) -> None:
    from tenants.keys.editing import issue_key
    from tenants.models import Tenant

    assert statuses(world, world.acme.key) == {(200, "")}
    _, clear = issue_key(Tenant.objects.get(pk=world.acme.id), name="second")
    eventually(lambda: statuses(world, clear) == {(200, "")}, patience_seconds=10)


def test_a_suspended_tenant_comes_back(world: World) -> None:
    from tenants.models import Tenant
    from tenants.tenancy import resume_tenant, suspend_tenant

    tenant = Tenant.objects.get(pk=world.acme.id)
    assert statuses(world, world.acme.key) == {(200, "")}
    suspend_tenant(tenant)
    eventually(lambda: statuses(world, world.acme.key) == {(403, "tenant_suspended")})
    resume_tenant(tenant)
    eventually(lambda: statuses(world, world.acme.key) == {(200, "")})


def test_a_key_is_used_from_its_addresses_only(world: World, make_tenant: Callable[..., Member]) -> None:
    inside = make_tenant(key={"ip_allow_list": ["127.0.0.0/8"]})
    outside = make_tenant(key={"ip_allow_list": ["10.0.0.0/8"]})
    assert statuses(world, inside.key) == {(200, "")}
    assert statuses(world, outside.key) == {(403, "ip_not_allowed")}


def test_a_key_sees_its_models_only(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(key={"models": ["gpt-4o*"]})
    client = world.openai(member)
    assert {model.id for model in client.models.list()} == {"gpt-4o", "gpt-4o-mini"}
    assert ask(client, model="gpt-4o-mini").parse().choices
    with pytest.raises(openai.PermissionDeniedError):
        ask(client, model="gpt-4.1-nano")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4.1-nano")


def test_a_key_goes_in_either_header(world: World) -> None:
    for headers in ({"authorization": f"Bearer {world.acme.key}"}, {"x-api-key": world.acme.key}):
        status, _ = world.request("GET", "/v1/budgets", headers={"authorization": "", **headers})
        assert status == 200
