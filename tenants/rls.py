"""Row-level security between tenants, and the role that it applies to.

Invariant: the gateway's pool has the rights of `purser_app`. It owns nothing, bypasses nothing, and sees a row of a
protected table only within `tenant_connection` of the row's tenant. The admin and Celery have the rights of
`purser_staff`, to which a policy shows every row. Migrations run as the owner (see config/database/logins.py).
Queries still contain `tenant_id = ...`: the policy is a second protection, in case a query forgets it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.db.migrations.operations.base import Operation
from psycopg import AsyncConnection

from config import resources

APP_ROLE = "purser_app"
CHANNEL = "purser_config"
TENANT_SETTING = "app.tenant"

# Roles belong to the cluster, not to the database: another database's migration (a second copy, a
# parallel test run) may create the role at the same moment, or already has. pg_has_role is true for a
# superuser, who needs no grant to SET ROLE; since PostgreSQL 16 creating a role does not include that.
CREATE_APP_ROLE = f"""
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
        BEGIN
            CREATE ROLE {APP_ROLE} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role(
        current_user, '{APP_ROLE}',
        CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END
    ) THEN
        BEGIN
            EXECUTE format('GRANT {APP_ROLE} TO %I', current_user);
        EXCEPTION WHEN internal_error THEN  -- "tuple concurrently updated": the other one granted it
            NULL;
        END;
    END IF;
END $$;
GRANT USAGE ON SCHEMA public TO {APP_ROLE};
"""


@asynccontextmanager
async def tenant_connection(tenant_id: int) -> AsyncIterator[AsyncConnection[Any]]:
    """A pool connection in a transaction that sees only this tenant's rows.

    Commits on leaving, rolls back on an exception. Costs one round trip more than a bare connection.
    Never hold it across an await of anything but the database.
    """
    async with resources.db.connection() as connection, connection.transaction():
        await connection.execute(f"SELECT set_config('{TENANT_SETTING}', %s, true)", (str(int(tenant_id)),))
        yield connection


class _Statements(Operation):
    """A migration operation that runs SQL both ways and leaves Django's model state alone."""

    reduces_to_sql = True
    reversible = True

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        for statement in self.forwards():
            schema_editor.execute(statement, params=None)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        for statement in self.backwards():
            schema_editor.execute(statement, params=None)

    def forwards(self) -> list[str]:
        raise NotImplementedError

    def backwards(self) -> list[str]:
        raise NotImplementedError


class CreateAppRole(_Statements):
    """The role that the gateway's pool runs as. Reversing keeps it: other databases may use it."""

    def forwards(self) -> list[str]:
        return [CREATE_APP_ROLE]

    def backwards(self) -> list[str]:
        return []

    def describe(self) -> str:
        return f"Create role {APP_ROLE}"


class ReserveTriggerFunctions(_Statements):
    """The names of functions that triggers are made with. Their text comes from `functions/*.sql`, after the migrations.

    Until then the functions refuse every change: no table can be changed before its rules exist.
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, list(self.names), {}

    def forwards(self) -> list[str]:
        return [
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION '{name} has no text yet: run manage.py migrate'; END $$"
            for name in self.names
        ]

    def backwards(self) -> list[str]:
        return [f"DROP FUNCTION {name}()" for name in self.names]

    def describe(self) -> str:
        return f"Reserve trigger functions: {', '.join(self.names)}"


class EnableRLS(_Statements):
    """Shows `purser_app` only the rows whose tenant column equals the connection's `app.tenant`.

    The `nullif` matters: after a transaction-local setting ends, its value is '' and a bare cast errors.
    """

    def __init__(self, table: str, column: str = "tenant_id") -> None:
        self.table, self.column = table, column

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.table, self.column], {}

    def forwards(self) -> list[str]:
        own = f"{self.column} = nullif(current_setting('{TENANT_SETTING}', true), '')::bigint"
        policy = f"TO {APP_ROLE} USING ({own}) WITH CHECK ({own})"
        return [
            f'ALTER TABLE "{self.table}" ENABLE ROW LEVEL SECURITY',
            f'CREATE POLICY tenant_isolation ON "{self.table}" {policy}',
        ]

    def backwards(self) -> list[str]:
        return [
            f'DROP POLICY tenant_isolation ON "{self.table}"',
            f'ALTER TABLE "{self.table}" DISABLE ROW LEVEL SECURITY',
        ]

    def describe(self) -> str:
        return f"Enable row-level security on {self.table}"


class GrantApp(_Statements):
    """Grants `purser_app` what the hot path needs on a table (or, with `kind`, on a function, ...).

    `privileges` is SQL: "SELECT, INSERT" or "SELECT (id, name)". Identity columns need no sequence grant.
    """

    def __init__(self, name: str, privileges: str = "SELECT", kind: str = "TABLE") -> None:
        self.name, self.privileges, self.kind = name, privileges, kind

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.name, self.privileges, self.kind], {}

    def forwards(self) -> list[str]:
        return [f"GRANT {self.privileges} ON {self.kind} {self._target} TO {APP_ROLE}"]

    def backwards(self) -> list[str]:
        return [f"REVOKE {self.privileges} ON {self.kind} {self._target} FROM {APP_ROLE}"]

    @property
    def _target(self) -> str:
        return f'"{self.name}"' if self.kind == "TABLE" else self.name

    def describe(self) -> str:
        return f"Grant {self.privileges} on {self.name} to {APP_ROLE}"


class NotifyOnChange(_Statements):
    """Notifies every worker's snapshots that a tenant's configuration changed, when the change commits.

    `tenant_column` is None for tables that concern every tenant. A NULL in the column also means every tenant. `rows` is a
    condition, in SQL, on the rows that are configuration.
    """

    def __init__(self, table: str, tenant_column: str | None = "tenant_id", rows: str = "true") -> None:
        self.table, self.tenant_column, self.rows = table, tenant_column, rows

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.table, self.tenant_column, self.rows], {}

    def forwards(self) -> list[str]:
        rows = {
            "insert": "REFERENCING NEW TABLE AS new_rows",
            "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
            "delete": "REFERENCING OLD TABLE AS old_rows",
            "truncate": "",
        }
        arguments = [self.tenant_column or "", *([self.rows] if self.rows != "true" else [])]
        quoted = ", ".join("'" + one.replace("'", "''") + "'" for one in arguments)
        return [
            f'CREATE TRIGGER notify_config_{event} AFTER {event.upper()} ON "{self.table}" {referencing} '
            f"FOR EACH STATEMENT EXECUTE FUNCTION purser_notify_config({quoted})"
            for event, referencing in rows.items()
        ]

    def backwards(self) -> list[str]:
        return [
            f'DROP TRIGGER notify_config_{event} ON "{self.table}"'
            for event in ("insert", "update", "delete", "truncate")
        ]

    def describe(self) -> str:
        return f"Notify {CHANNEL} when {self.table} changes"
