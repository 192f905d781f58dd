"""What the web tier's login can do to the database, if somebody makes it run SQL of theirs: its tenant's rows, no more."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import errors

from config import resources
from config.database import logins
from config.database import roles as database_roles
from config.database.roles import check_logins
from tenants.models import EndUser, Tenant
from tests.world import new_tenant

Login = Callable[[str], psycopg.Connection[Any]]


@pytest.fixture
def login(committed: None) -> Iterator[Login]:
    """Log in as the gateway (web), the site (admin) or Celery (worker), as those processes do."""
    opened = []

    def log_in(name: str) -> psycopg.Connection[Any]:
        owner = f"{settings.DATABASE_URL.rpartition('/')[0]}/{connection.settings_dict['NAME']}"
        url = logins.login_url(name, settings.PURSER_HOME, owner_url=owner)
        opened.append(psycopg.connect(url, autocommit=True))
        return opened[-1]

    yield log_in
    for one in opened:
        one.close()


@pytest.fixture
def tenant(committed: None) -> Tenant:
    tenant = new_tenant()
    EndUser.objects.create(tenant=tenant, external_id="alice")
    return tenant


def one(connected: psycopg.Connection[Any], query: str) -> Any:
    row = connected.execute(query).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("name", ["web", "admin", "worker"])
def test_no_login_is_a_superuser_or_bypasses_anything(login: Login, name: str) -> None:
    connected = login(name)
    facts = connected.execute(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolname = session_user"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert facts == (False, False, False, False, False, True)


@pytest.mark.parametrize("name", ["web", "admin", "worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE purser_app",
        "SET ROLE purser_staff",
        "SET ROLE {owner}",
        "SET SESSION AUTHORIZATION {owner}",
        "SET SESSION AUTHORIZATION DEFAULT; SET ROLE {owner}",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "CREATE TEMP TABLE t (x text); COPY t FROM '/etc/passwd'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "CREATE ROLE intruder LOGIN",
        "ALTER ROLE {self} SUPERUSER",
        "ALTER ROLE {self} BYPASSRLS",
        "GRANT {owner} TO {self}",
        "DROP EXTENSION vector",
        "ALTER SYSTEM SET log_statement = 'all'",
        "ALTER TABLE tenants_enduser DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation ON tenants_enduser",
        "ALTER TABLE billing_usagerecord DISABLE TRIGGER ALL",
        "ALTER FUNCTION billing_period_at(bigint, timestamptz) RENAME TO gone",
        "TRUNCATE billing_usagerecord",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'",
        "SET session_replication_role = replica",
    ],
)
def test_no_login_becomes_more_than_it_is(login: Login, name: str, statement: str) -> None:
    connected = login(name)
    owner, self = connection.settings_dict["USER"], one(connected, "SELECT current_user")
    with pytest.raises(psycopg.Error) as error:
        connected.execute(statement.format(owner=owner, self=self))
    assert isinstance(error.value, errors.InsufficientPrivilege), error.value


@pytest.mark.parametrize("name", ["web", "admin"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE public.mine (x int)",
        "CREATE SCHEMA mine",
    ],
)
def test_the_web_tier_makes_no_objects(login: Login, name: str, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        login(name).execute(statement)


def test_the_gateway_makes_no_temporary_objects_either(login: Login) -> None:
    for statement in (
        "CREATE TEMP TABLE mine (x int)",
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            login("web").execute(statement)


def test_the_gateway_sees_the_tenant_it_names_and_no_other(login: Login, tenant: Tenant) -> None:
    other = Tenant.objects.create(slug=f"wall-{secrets.token_hex(4)}", name="Other")
    gateway = login("web")
    count = f"SELECT count(*) FROM tenants_enduser WHERE tenant_id = {tenant.pk}"
    assert one(gateway, count) == 0
    gateway.execute("SELECT set_config('app.tenant', %s, false)", [str(other.pk)])
    assert one(gateway, count) == 0
    for reset in (
        "RESET ROLE",
        "SET ROLE NONE",
        "RESET SESSION AUTHORIZATION",
        "RESET ALL",
        "SET row_security = off",
    ):
        gateway.execute(reset)
        try:
            assert one(gateway, count) == 0
        except errors.InsufficientPrivilege:  # what row_security = off answers
            gateway.execute("RESET row_security")
    gateway.execute("SELECT set_config('app.tenant', %s, false)", [str(tenant.pk)])
    assert one(gateway, count) == 1
    for table in ("tenants_apikey", "auth_user", "django_session", "llm_provider"):
        with pytest.raises(errors.InsufficientPrivilege):
            gateway.execute(f"SELECT * FROM {table}")


@pytest.mark.parametrize("name", ["admin", "worker"])
def test_the_staff_reads_and_writes_rows_of_every_tenant(login: Login, name: str, tenant: Tenant) -> None:
    staff = login(name)
    assert one(staff, f"SELECT count(*) FROM tenants_enduser WHERE tenant_id = {tenant.pk}") == 1
    tables = staff.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
    ).fetchall()
    assert len(tables) > 50
    for (table,) in tables:
        staff.execute(f"SELECT FROM {table} LIMIT 1")
        assert one(staff, f"SELECT has_table_privilege('{table}', 'INSERT, UPDATE, DELETE')")
    staff.execute("UPDATE tenants_enduser SET display_name = 'A' WHERE tenant_id = %s", [tenant.pk])


def test_the_worker_makes_partitions_and_the_caches_indexes(login: Login) -> None:
    worker = login("worker")
    assert one(worker, "SELECT billing_ensure_partition('2031-05-05')") is True
    worker.execute("CREATE INDEX CONCURRENTLY wall_test ON caching_entry (id)")
    worker.execute("DROP INDEX CONCURRENTLY wall_test")


@pytest.mark.parametrize("name", ["web", "admin", "worker"])
def test_every_login_has_time_limits(login: Login, name: str) -> None:
    connected = login(name)
    for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert one(connected, f"SHOW {limit}") != "0", limit


async def test_the_pool_logs_in_as_the_gateway(loop_resources: None) -> None:
    async with resources.db.connection() as pooled:
        cursor = await pooled.execute("SELECT session_user, current_user")
        assert await cursor.fetchone() == (logins.role_name("web", connection.settings_dict["NAME"]),) * 2


def test_making_the_roles_again_changes_nothing(committed: None, login: Login) -> None:
    before = login("web").info.password
    assert len(database_roles.ensure()) == 3
    assert login("web").info.password == before


def test_a_deployment_without_logins_is_warned(tmp_path: Any, settings: Any) -> None:
    settings.PURSER_HOME = tmp_path
    settings.OWNER_DATABASE_URL = "postgresql://purser@127.0.0.1/purser"
    (warning,) = check_logins()
    assert warning.id == "purser.W001"
    assert "admin, web, worker" in warning.msg
