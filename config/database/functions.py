"""Applies the database functions in `<app>/functions/*.sql`. Runs as the owner, after migrations.

Invariant: each function is written once, in a file. The database has exactly these functions under our name prefixes, with
their signatures and grants. An up-to-date function is not replaced: its comment has the digest of its source text, and of
PostgreSQL's version of it. Migrations contain tables and triggers, but no function's text.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.db import connections, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg import errors

from tenants.rls import APP_ROLE

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('purser.database_functions'))"

# The functions whose names begin with one of our prefixes, and the digests in their comments. `is_needed`: another object
# depends on the function (a trigger, a constraint), or it is part of another object (a type).
INSTALLED: Final = """
SELECT p.oid, p.proname,
       CASE WHEN split_part(noted.text, ' ', 2) = md5(pg_get_functiondef(p.oid)) THEN split_part(noted.text, ' ', 1) ELSE '' END,
       EXISTS (SELECT FROM pg_depend d
               WHERE (d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid)
                  OR (d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('i', 'e')))
FROM pg_proc p
CROSS JOIN LATERAL (SELECT coalesce(obj_description(p.oid, 'pg_proc'), '') AS text) noted
WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f' AND split_part(p.proname, '_', 1) = ANY (%s)
"""
DROP: Final = "DO $$ BEGIN EXECUTE format('DROP FUNCTION %s', {oid}::regprocedure); END $$"
NOTE: Final = """
DO $$ BEGIN
    EXECUTE format('COMMENT ON FUNCTION public.{name} IS %L',
                   '{digest} ' || md5(pg_get_functiondef('public.{name}'::regproc)));
END $$
"""

_FUNCTION = re.compile(
    r"^(?P<definition>CREATE OR REPLACE FUNCTION public\.(?P<name>\w+)\(.*?\$\$;\n)"
    r"(?P<grant>GRANT EXECUTE ON FUNCTION public\.(?P=name) TO \w+;\n)?",
    re.DOTALL | re.MULTILINE,
)
_COMMENT = re.compile(r"--.*")


class UnreadableFunctions(Exception):
    """A file contains a statement that is neither a function nor the grant after it."""


@dataclass(frozen=True, slots=True)
class WrittenFunction:
    """A function as its file defines it, and its grant to a role other than the owner."""

    name: str
    definition: str
    grant: str

    @property
    def digest(self) -> str:
        return hashlib.sha256((self.definition + self.grant).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class InstalledFunction:
    """A function in a database, and the digest of its source text; empty if it was changed since."""

    oid: int
    name: str
    digest: str
    is_needed: bool


def written_functions() -> list[WrittenFunction]:
    """The functions of all files, in the order of apps and files."""
    folders = (Path(app.path) / "functions" for app in apps.get_app_configs())
    return [
        one for folder in folders for file in sorted(folder.glob("*.sql")) for one in read_functions(file)
    ]


def read_functions(file: Path) -> list[WrittenFunction]:
    """The functions of one file; raises UnreadableFunctions if it has anything else."""
    text = file.read_text()
    if other := _COMMENT.sub("", _FUNCTION.sub("", text)).strip():
        raise UnreadableFunctions(
            f"{file} has functions, each with its grant, and nothing else: {other[:80]}"
        )
    return [
        WrittenFunction(match["name"], match["definition"], match["grant"] or "")
        for match in _FUNCTION.finditer(text)
    ]


def is_migrated(*, using: str = "default") -> bool:
    """Whether all migrations are applied. Before that, a function may need tables that do not exist yet."""
    executor = MigrationExecutor(connections[using])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def apply(*, using: str = "default") -> list[str]:
    """Bring the database up to date with the files. Returns the names of the functions that changed or were dropped."""
    functions = written_functions()
    words = sorted({function.name.partition("_")[0] for function in functions})
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(LOCK)
        there = _installed(cursor, words)
        changed = [
            function.name
            for function in functions
            if _replace(cursor, function, [one for one in there if one.name == function.name], using=using)
        ]
        names = {function.name for function in functions}
        gone = [one for one in there if one.name not in names and not one.is_needed]
        _drop(cursor, gone)
    return changed + [one.name for one in gone]


def _installed(cursor: Any, words: list[str]) -> list[InstalledFunction]:
    cursor.execute(INSTALLED, [words])
    return [InstalledFunction(*row) for row in cursor.fetchall()]


def _replace(cursor: Any, function: WrittenFunction, there: list[InstalledFunction], *, using: str) -> bool:
    """Replace a function if its text differs, and drop its former signatures. Returns whether it changed."""
    if [one.digest for one in there] == [function.digest]:
        return False
    if len(there) > 1:
        _drop(cursor, there)
        there = []
    try:
        with transaction.atomic(using=using):
            cursor.execute(function.definition)
    except Exception as error:
        if not isinstance(error.__cause__, errors.InvalidFunctionDefinition):
            raise
        _drop(cursor, there)  # its return type changed: it cannot be replaced
        there = []
        cursor.execute(function.definition)
    cursor.execute(
        "SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = %s",
        [function.name],
    )
    if len(cursor.fetchall()) > 1:
        _drop(cursor, there)
    cursor.execute(f"REVOKE ALL ON FUNCTION public.{function.name} FROM PUBLIC, {APP_ROLE}")
    if function.grant:
        cursor.execute(function.grant)
    cursor.execute(NOTE.format(name=function.name, digest=function.digest))
    return True


def _drop(cursor: Any, functions: Iterable[InstalledFunction]) -> None:
    for function in functions:
        cursor.execute(DROP.format(oid=function.oid))
