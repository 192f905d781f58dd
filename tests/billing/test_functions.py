"""The database functions that move money: each is written once, and a database has exactly those."""

import re
from collections import Counter
from pathlib import Path

import pytest

_DEFINED = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION (\w+)")
_BILLING = Path(__file__).parents[2] / "billing"


def _defined(pattern: str) -> list[str]:
    return [name for path in sorted(_BILLING.glob(pattern)) for name in _DEFINED.findall(path.read_text())]


def test_each_is_written_once() -> None:
    counts = Counter(_defined("functions/*.sql"))
    assert set(counts.values()) == {1}
    assert counts.keys().isdisjoint(_defined("migrations/**/*.sql") + _defined("migrations/*.py"))


def test_each_has_its_rights_written_down() -> None:
    from billing import functions

    granted = {name.partition("(")[0] for name in functions.FOR_THE_GATEWAY + functions.FOR_THE_OWNER}
    assert granted == set(_functions_without_triggers())


def _functions_without_triggers() -> list[str]:
    """Triggers run whoever writes; nobody calls them."""
    texts = "".join(path.read_text() for path in sorted(_BILLING.glob("functions/*.sql")))
    parts = re.split(r"(?=CREATE (?:OR REPLACE )?FUNCTION )", texts)[1:]
    return [
        part.split()[part.split().index("FUNCTION") + 1].partition("(")[0]
        for part in parts
        if "RETURNS trigger" not in part
    ]


@pytest.mark.django_db
def test_the_gateway_may_call_no_part_of_them() -> None:
    """PostgreSQL's default is that everybody may call a function."""
    from django.db import connection

    from billing import functions
    from tenants.rls import APP_ROLE

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'billing%%'"
            " AND has_function_privilege(%s, oid, 'EXECUTE')",
            [APP_ROLE],
        )
        callable_ = {row[0] for row in cursor.fetchall()}
    assert callable_ >= {name.partition("(")[0] for name in functions.FOR_THE_GATEWAY}
    assert callable_.isdisjoint(name.partition("(")[0] for name in functions.FOR_THE_OWNER)
