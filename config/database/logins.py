"""The PostgreSQL logins of each process, and the time limits of their statements.

Invariant: the roles of the web tier are no superusers, do not bypass row-level security and cannot switch to another
role. The gateway logs in as `<database>_web`, with the rights of `purser_app`; the site as `<database>_admin`, with the
rights of `purser_staff`; Celery as `<database>_worker`. Migrations and commands use the owner, from DATABASE_URL. If a
login is missing, the owner's is used, and the check `purser.W001` reports it. The settings import this: no Django here.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from config import environment

WEB, ADMIN, WORKER, OWNER = "web", "admin", "worker", "owner"
LOGINS: Final = (WEB, ADMIN, WORKER)
LONGEST_ROLE_NAME: Final = 63
SECRETS_FOLDER: Final = "secrets"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """In seconds, 0 for none: of a statement, of its wait for a lock, of an idle transaction."""

    statement: float
    lock: float
    idle_in_transaction: float

    def milliseconds(self) -> dict[str, int]:
        """The limits by PostgreSQL's names."""
        limits = {
            "statement_timeout": self.statement,
            "lock_timeout": self.lock,
            "idle_in_transaction_session_timeout": self.idle_in_transaction,
        }
        return {name: round(seconds * 1000) for name, seconds in limits.items()}

    def options(self) -> str:
        """The limits as connection options of libpq."""
        return " ".join(f"-c {name}={value}" for name, value in self.milliseconds().items())


TIME_LIMITS: Final = {
    WEB: TimeLimits(statement=15, lock=5, idle_in_transaction=60),
    # reports and statements are built while their transaction is open
    ADMIN: TimeLimits(statement=120, lock=10, idle_in_transaction=600),
    WORKER: TimeLimits(statement=3600, lock=60, idle_in_transaction=3600),
    # migrations and what a person waits for at a terminal
    OWNER: TimeLimits(statement=0, lock=0, idle_in_transaction=0),
}


def of_process() -> str:
    """The login of this process's ORM. The entry points of the web server and of Celery set PURSER_LOGIN."""
    name = os.environ.get("PURSER_LOGIN") or OWNER
    return name if name in TIME_LIMITS else OWNER


def database_url(home: Path, *, owner_url: str) -> str:
    """The URL for this process's ORM: its own login, else the owner's; without an owner, that of the admin or worker."""
    login = of_process()
    if login != OWNER and (url := login_url(login, home, owner_url=owner_url)):
        return url
    return owner_url or environment.text("ADMIN_DATABASE_URL") or environment.text("WORKER_DATABASE_URL")


def login_url(login: str, home: Path, *, owner_url: str) -> str:
    """`<LOGIN>_DATABASE_URL`, else the owner's URL with the login of this state folder; empty if there is none."""
    if url := environment.text(f"{login.upper()}_DATABASE_URL"):
        return url
    parts = urlsplit(owner_url)
    role = role_name(login, unquote(parts.path.lstrip("/")))
    if not owner_url or not (password := kept_password(home, role)):
        return ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(role, safe='')}:{quote(password, safe='')}@{host}").geturl()


def parameters_of(url: str) -> dict[str, Any]:
    """The parts of a URL, with psycopg's names."""
    parts = urlsplit(url)
    return {
        "dbname": unquote(parts.path.lstrip("/")),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "host": parts.hostname or "",
        "port": parts.port or "",
    }


def role_name(login: str, database: str) -> str:
    """The role of a login. Roles belong to the cluster, so the name contains the database's."""
    return f"{database[: LONGEST_ROLE_NAME - len(login) - 1]}_{login}"


def kept_password(home: Path, role: str) -> str:
    """The password of a role that was made for this state folder; empty if there is none."""
    try:
        return password_file(home, role).read_text().strip()
    except OSError:
        return ""


def password_file(home: Path, role: str) -> Path:
    return home / SECRETS_FOLDER / f"{role.replace('/', '_')}.password"
