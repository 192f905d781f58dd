"""Creates the roles that the product logs in as, and their grants. Runs as the owner, after migrations.

Invariant: idempotent. A password is made once, with its role, and kept in the state folder. A role that an
administrator made keeps its password. If the owner may not create roles, nothing changes, and the product logs in as
the owner.
"""

import os
import secrets
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections, transaction
from psycopg import errors, sql

from config import environment
from config.database import logins

LOCK = "SELECT pg_advisory_xact_lock(hashtext('purser.database_roles'))"
GROUPS = {logins.WEB: "purser_app", logins.ADMIN: "purser_staff", logins.WORKER: "purser_staff"}
ATTRIBUTES = "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"
MEMBERSHIP = "WITH INHERIT TRUE, SET FALSE"  # since PostgreSQL 16; before, a member may always SET ROLE
# Celery builds indexes of these tables, which only their owner may
TABLES_OF_THE_WORKER = ("caching_entry",)

# `purser_staff` reads and writes the rows of every tenant. It cannot change tables, triggers or functions.
GRANTS = """
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT c.oid::regclass AS name, c.relkind, c.relrowsecurity,
                      EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'staff') AS has_policy
               FROM pg_class c
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
                 AND NOT (c.relkind <> 'S' AND has_table_privilege('purser_staff', c.oid, 'DELETE')
                          AND (NOT c.relrowsecurity OR EXISTS (
                              SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'staff')))
                 AND pg_has_role(current_user, c.relowner, 'USAGE')
                 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') LOOP
        IF one.relkind = 'S' THEN
            EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO purser_staff', one.name);
            CONTINUE;
        END IF;
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO purser_staff', one.name);
        IF one.relrowsecurity AND NOT one.has_policy THEN
            EXECUTE format('CREATE POLICY staff ON %s TO purser_staff USING (true) WITH CHECK (true)', one.name);
        END IF;
    END LOOP;
    FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p
               WHERE p.pronamespace = 'public'::regnamespace AND pg_has_role(current_user, p.proowner, 'USAGE')
                 AND NOT has_function_privilege('purser_staff', p.oid, 'EXECUTE')
                 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO purser_staff', one.name);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO purser_app, purser_staff;
"""

# `purser_portal` is what the site's login becomes for a page of the portal: it has a tenant's rows by the policy of `purser_app`,
# of which it is a member; the books for reading, and histories for writing.
BOOKS = (
    "billing_usagerecord", "billing_usageline", "billing_usagedaily", "billing_usagesum", "billing_attempt",
    "billing_budgetwindow", "billing_billingperiod", "billing_statement", "billing_manualentry", "billing_raterule",
    "llm_requestlog", "billing_agenthour", "billing_rollupdirty", "billing_usagespan", "billing_alertfinding",
    "billing_rulecheck", "billing_chargebacksheet", "billing_certificate",
    "billing_entryproposal",
    "billing_prepaidbalance", "billing_prepaidentry",
    "billing_commitment",
    "billing_agreementproposal",
    "billing_reportdelivery",
    "billing_periodsum",
)  # fmt: skip
# tables without a tenant's column, of which it needs some rows
FURTHER_GRANTS = {
    "auth_user": "SELECT",
    "django_content_type": "SELECT",
    "llm_languagemodel": "SELECT",
    "llm_provider": "SELECT (id, name, kind)",
    "billing_budgetraise": "SELECT, INSERT, UPDATE",
    "billing_statementline": "SELECT",
    "billing_statementfile": "SELECT",
}
PORTAL_GRANTS = f"""
DO $$
DECLARE
    one record;
    returned text;
BEGIN
    IF NOT pg_has_role('purser_portal', 'purser_app', 'USAGE') THEN
        EXECUTE 'GRANT purser_app TO purser_portal'
            || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' {MEMBERSHIP}' ELSE '' END;
    END IF;
    FOR one IN SELECT c.oid::regclass AS name, c.relname = ANY (ARRAY{[*BOOKS]!r}) AS is_a_book,
                      EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tenant_isolation') AS is_walled
               FROM pg_class c
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                 AND pg_has_role(current_user, c.relowner, 'USAGE') LOOP
        IF one.is_walled AND one.is_a_book THEN
            EXECUTE format('GRANT SELECT ON %s TO purser_portal', one.name);
        ELSIF one.is_walled THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO purser_portal', one.name);
        ELSIF strpos(one.name::text, '_historical') > 0 THEN
            -- an INSERT reads back what the database fills in
            SELECT string_agg(quote_ident(attname), ', ') INTO returned FROM pg_attribute
            WHERE attrelid = one.name AND (attidentity <> '' OR atthasdef);
            EXECUTE format('GRANT INSERT, SELECT (%s) ON %s TO purser_portal', returned, one.name);
        END IF;
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA public TO purser_portal;
{"".join(f"GRANT {rights} ON {table} TO purser_portal;" for table, rights in FURTHER_GRANTS.items())}
"""

log = structlog.get_logger(__name__)


def ensure(*, using: str = "default", reset: bool = False) -> list[str]:
    """Create what is missing. Returns the roles whose password we know. `reset` gives existing roles new passwords."""
    connection = connections[using]
    if logins.of_process() != logins.OWNER:
        return []
    connection.ensure_connection()
    try:
        with transaction.atomic(using=using):
            return _ensure(connection, reset=reset)
    except Exception as error:
        cause = error.__cause__ or error
        if not isinstance(cause, errors.InsufficientPrivilege):
            raise
        log.warning(
            "database_roles_not_made", detail=str(cause).strip(), meaning="everything logs in as the owner"
        )
        return []


def forget(*, database: str) -> None:
    """Remove the stored passwords of a database's roles."""
    for login in logins.LOGINS:
        logins.password_file(settings.PURSER_HOME, logins.role_name(login, database)).unlink(missing_ok=True)


def _ensure(connection: Any, *, reset: bool) -> list[str]:
    database = connection.settings_dict["NAME"]
    known = []
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
        has_options = connection.pg_version >= 160000
        for group in ("purser_staff", "purser_portal"):
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [group])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE ROLE {group} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE")
        for login in logins.LOGINS:
            role, password = _login(login, database)
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
            is_there = cursor.fetchone() is not None
            if is_there and not password and not reset:
                log.warning("database_role_of_others", role=role, meaning="its password is not known here")
                continue
            is_new = not password
            password = password or secrets.token_urlsafe(24)
            _make(cursor, connection, role, password, is_there=is_there, limits=logins.TIME_LIMITS[login])
            cursor.execute("SELECT pg_has_role(%s, %s, 'MEMBER')", [role, GROUPS[login]])
            if not cursor.fetchone()[0]:
                grant = sql.SQL("GRANT {group} TO {role} " + (MEMBERSHIP if has_options else ""))
                cursor.execute(grant.format(group=sql.Identifier(GROUPS[login]), role=sql.Identifier(role)))
            if is_new:
                transaction.on_commit(partial(_keep, role, password), using=connection.alias)
            known.append(role)
        cursor.execute(GRANTS)
        _make_portal(connection, logins.role_name(logins.ADMIN, database), has_options=has_options)
        _give_database(cursor, database)
        if (worker := logins.role_name(logins.WORKER, database)) in known:
            _give_tables(cursor, worker, has_options=has_options)
    return known


def _make(
    cursor: Any, connection: Any, role: str, password: str, *, is_there: bool, limits: logins.TimeLimits
) -> None:
    """Create a role, or make sure of its attributes. A role that we may not change is left to its administrator.

    The time limits are also set on the role, for poolers that do not pass connection options.
    """
    verifier = connection.connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    )
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    may_say_all = not is_there or cursor.fetchone()[0]
    statement = sql.SQL("{verb} ROLE {role} {attributes} PASSWORD {password}").format(
        verb=sql.SQL("ALTER" if is_there else "CREATE"),
        role=sql.Identifier(role),
        attributes=sql.SQL(ATTRIBUTES if may_say_all else "LOGIN"),
        password=sql.Literal(verifier.decode()),
    )
    try:
        with transaction.atomic(using=connection.alias):
            cursor.execute(statement)
            for name, value in limits.milliseconds().items():
                change = sql.SQL("ALTER ROLE {} SET {} = {}")
                cursor.execute(change.format(sql.Identifier(role), sql.Identifier(name), sql.Literal(value)))
    except DatabaseError as error:
        if not (is_there and isinstance(error.__cause__, errors.InsufficientPrivilege)):
            raise


def _login(login: str, database: str) -> tuple[str, str]:
    """The role and its password: from the environment, else from the state folder."""
    if url := environment.text(f"{login.upper()}_DATABASE_URL"):
        parameters = logins.parameters_of(url)
        return parameters["user"], parameters["password"]
    role = logins.role_name(login, database)
    return role, logins.kept_password(settings.PURSER_HOME, role)


def _give_database(cursor: Any, database: str) -> None:
    """Allow connections. Temporary objects include functions, so only those who sum months may create them, for copies of a
    month's rows.
    """
    name = sql.Identifier(database)
    cursor.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
    cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO purser_app, purser_staff").format(name))
    cursor.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO purser_staff").format(name))


def _give_tables(cursor: Any, worker: str, *, has_options: bool) -> None:
    role = sql.Identifier(worker)
    cursor.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(role))
    for table in TABLES_OF_THE_WORKER:
        cursor.execute(
            "SELECT r.rolname, r.rolname = current_user OR pg_has_role(current_user, r.oid, 'USAGE')"
            " FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = %s::regclass",
            [table],
        )
        if cursor.fetchone()[0] != worker:
            options = " WITH INHERIT TRUE, SET TRUE" if has_options else ""
            cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER" + options).format(role))
            cursor.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table), role))


def _make_portal(connection: Any, login: str, *, has_options: bool) -> None:
    """Let the site's login have the rights of the portal instead of its own, which are more."""
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(PORTAL_GRANTS)
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s AND NOT pg_has_role(oid, 'purser_portal', 'MEMBER'))",
                [login],
            )
            if cursor.fetchone()[0]:
                options = " WITH INHERIT FALSE, SET TRUE" if has_options else ""
                cursor.execute(sql.SQL("GRANT purser_portal TO {}" + options).format(sql.Identifier(login)))
    except DatabaseError as error:
        if not isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise
        log.warning(
            "portal_without_wall", detail=str(error).strip(), meaning="its queries' filters are all it has"
        )


def _keep(role: str, password: str) -> None:
    file = logins.password_file(settings.PURSER_HOME, role)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(password)


def check_logins(**kwargs: Any) -> list[checks.CheckMessage]:
    """`manage.py check --deploy`: warns if the web tier or Celery logs in as the owner of the tables.

    Without a configured owner that is not possible.
    """
    if not settings.OWNER_DATABASE_URL:
        return []
    known = {
        login: logins.login_url(login, settings.PURSER_HOME, owner_url=settings.OWNER_DATABASE_URL)
        for login in logins.LOGINS
    }
    missing = sorted(login for login, url in known.items() if not url)
    if not missing:
        return []
    return [
        checks.Warning(
            f"These log in to PostgreSQL as the owner of the tables: {', '.join(missing)}.",
            hint="Run `manage.py migrate` with an owner that may create roles, or make the roles by hand and set"
            " WEB_DATABASE_URL, ADMIN_DATABASE_URL and WORKER_DATABASE_URL (docs/operations.md).",
            id="purser.W001",
        )
    ]
