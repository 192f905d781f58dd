"""The database functions: each is written once, a database has exactly those, and the gateway may call few of them."""

import re
from collections import Counter
from pathlib import Path

import pytest

from config.database.functions import written_functions
from tenants.rls import APP_ROLE

ROOT = Path(__file__).parents[2]
APPS = ("tenants", "billing", "caching", "llm")
# an index is made of it: another text would make another index
PART_OF_THE_SCHEMA = {"billing_price_identity"}


def test_each_is_written_once() -> None:
    assert {count for count in Counter(one.name for one in written_functions()).values()} == {1}


@pytest.mark.parametrize("app", APPS)
def test_no_migration_has_the_text_of_one(app: str) -> None:
    files = [file for file in (ROOT / app / "migrations").rglob("*") if file.suffix in (".py", ".sql")]
    texts = "".join(file.read_text() for file in files)
    assert len(files) > 1
    assert set(re.findall(r"CREATE (?:OR REPLACE )?FUNCTION (?:public\.)?(\w+)", texts)) <= PART_OF_THE_SCHEMA


@pytest.mark.django_db
def test_a_database_has_exactly_those_once_each() -> None:
    """The functions of types and extensions aside."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS ("
            " SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))"
        )
        installed = Counter(row[0] for row in cursor.fetchall())
    assert installed == Counter([one.name for one in written_functions()]) + Counter(PART_OF_THE_SCHEMA)


@pytest.mark.django_db
def test_the_gateway_may_call_what_is_granted_and_no_part_of_it() -> None:
    """PostgreSQL's default is that everybody may call a function."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = ANY (%s)"
            " AND has_function_privilege(%s, oid, 'EXECUTE')",
            [[one.name for one in written_functions()], APP_ROLE],
        )
        callable_ = {row[0] for row in cursor.fetchall()}
    assert callable_ == {one.name for one in written_functions() if one.grant}
    assert {"billing_commit_group", "billing_extend", "tenants_tenant_of_key"} < callable_
    assert callable_.isdisjoint({"billing_book_entry", "billing_ensure_partition", "billing_window_states"})
