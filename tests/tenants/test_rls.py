"""The database's own wall: what `purser_app` can see, and what it cannot."""

import pytest
from psycopg import errors

from config import resources
from tenants.models import EndUser, Tenant
from tenants.rls import tenant_connection
from tests.world import new_tenant

pytestmark = pytest.mark.usefixtures("loop_resources")


@pytest.fixture
def acme(committed: None) -> Tenant:
    return make_tenant("acme")


@pytest.fixture
def outsider(committed: None) -> Tenant:
    return make_tenant("outsider")


def make_tenant(slug: str) -> Tenant:
    tenant = new_tenant(slug)
    EndUser.objects.create(tenant=tenant, external_id=f"user of {slug}")
    return tenant


async def test_it_works(acme: Tenant, outsider: Tenant) -> None:
    async with tenant_connection(acme.pk) as connection:
        users = await (await connection.execute("SELECT external_id FROM tenants_enduser")).fetchall()
        slugs = await (await connection.execute("SELECT slug FROM tenants_tenant")).fetchall()
    assert users == [("user of acme",)]
    assert slugs == [(acme.slug,)]


async def test_the_pool_runs_as_a_role_that_bypasses_nothing() -> None:
    async with resources.db.connection() as connection:
        cursor = await connection.execute(
            "SELECT rolsuper, rolbypassrls, pg_has_role('purser_app', 'USAGE'), current_user = session_user"
            " FROM pg_roles WHERE rolname = current_user"
        )
        assert await cursor.fetchone() == (False, False, True, True)


async def test_without_a_tenant_there_are_no_rows(acme: Tenant, outsider: Tenant) -> None:
    async with tenant_connection(acme.pk) as connection:
        await connection.execute("SELECT 1")
    for _ in range(20):  # whichever connection the pool hands out, the setting is gone
        async with resources.db.connection() as connection:
            row = await (await connection.execute("SELECT count(*) FROM tenants_enduser")).fetchone()
            assert row == (0,)


async def test_a_foreign_row_stays_invisible_when_asked_for_by_id(acme: Tenant, outsider: Tenant) -> None:
    foreign = outsider.pk
    async with tenant_connection(acme.pk) as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM tenants_enduser WHERE tenant_id = %s", (foreign,)
        )
        assert await cursor.fetchone() == (0,)


async def test_configuration_cannot_be_written_by_the_hot_path(acme: Tenant, outsider: Tenant) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        async with tenant_connection(acme.pk) as connection:
            await connection.execute("UPDATE tenants_tenant SET status = 'active'")


async def test_hashes_of_keys_cannot_be_read_by_the_hot_path(acme: Tenant, outsider: Tenant) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        async with tenant_connection(acme.pk) as connection:
            await connection.execute("SELECT secret_hash FROM tenants_apikey")


async def test_an_exception_rolls_back_and_clears_the_tenant(acme: Tenant, outsider: Tenant) -> None:
    with pytest.raises(RuntimeError):
        async with tenant_connection(acme.pk):
            raise RuntimeError
    async with resources.db.connection() as other:
        row = await (await other.execute("SELECT nullif(current_setting('app.tenant', true), '')")).fetchone()
    assert row == (None,)
