"""Owners of the tables that are no superusers: those that may create roles, and those that may not."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors, sql

from config.database import logins

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def owner_url(committed: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of an owner who may create roles, or not (the fixture's parameter)."""
    admin_url = os.environ["DATABASE_URL"]
    name, password = f"own{secrets.token_hex(4)}", secrets.token_hex(8)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        may = sql.SQL("CREATEROLE" if request.param else "NOCREATEROLE")
        role = sql.Identifier(name)
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(role, may, sql.Literal(password)))
        admin.execute(sql.SQL("GRANT purser_app TO {} WITH ADMIN OPTION").format(role))
        if request.param:
            for group in ("purser_staff", "purser_portal"):
                grant = sql.SQL("GRANT {} TO {} WITH ADMIN OPTION")
                admin.execute(grant.format(sql.Identifier(group), role))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
        parts = urlsplit(admin_url)._replace(path=f"/{name}")
        with psycopg.connect(parts.geturl(), autocommit=True) as inside:
            inside.execute("CREATE EXTENSION vector")
        yield parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}").geturl()
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(role))
        for login in logins.LOGINS:
            admin.execute(
                sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(logins.role_name(login, name)))
            )
        admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


def manage(home: Path, owner_url: str, *arguments: str) -> str:
    environment = {**os.environ, "DATABASE_URL": owner_url, "PURSER_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("owner_url", [True], indirect=True)
def test_an_owner_who_may_create_roles_gives_the_product_its_logins(owner_url: str, tmp_path: Path) -> None:
    manage(tmp_path, owner_url, "migrate", "--verbosity", "0")
    assert "purser.W001" not in manage(tmp_path, owner_url, "check", "--deploy")
    for login in logins.LOGINS:
        url = logins.login_url(login, tmp_path, owner_url=owner_url)
        with psycopg.connect(url, autocommit=True) as connected:
            assert connected.execute(
                "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone() == (False,)
            with pytest.raises(errors.InsufficientPrivilege):
                connected.execute(
                    sql.SQL("SET ROLE {}").format(sql.Identifier(urlsplit(owner_url).username or ""))
                )
    with psycopg.connect(logins.login_url("admin", tmp_path, owner_url=owner_url)) as staff:
        assert staff.execute("SELECT count(*) FROM tenants_tenant").fetchone() == (0,)
    with psycopg.connect(
        logins.login_url("worker", tmp_path, owner_url=owner_url), autocommit=True
    ) as worker:
        worker.execute("CREATE INDEX CONCURRENTLY wall_test ON caching_entry (id)")
    kept = [file.stat().st_mode & 0o777 for file in (tmp_path / "secrets").iterdir()]
    assert kept == [0o600] * 3


@pytest.mark.parametrize("owner_url", [False], indirect=True)
def test_an_owner_who_may_not_goes_on_as_before_and_is_told(owner_url: str, tmp_path: Path) -> None:
    assert "database_roles_not_made" in manage(tmp_path, owner_url, "migrate", "--verbosity", "0")
    assert "purser.W001" in manage(tmp_path, owner_url, "check", "--deploy")
    assert not (tmp_path / "secrets").exists()
