"""A database's functions are those of the files, whatever it had before."""

from pathlib import Path

import pytest
from django.db import connection

from config.database.functions import UnreadableFunctions, apply, is_migrated, read_functions
from tenants.rls import APP_ROLE

pytestmark = pytest.mark.django_db


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def signatures(name: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid::regprocedure::text FROM pg_proc WHERE proname = %s ORDER BY 1", [name])
        return [row[0] for row in cursor.fetchall()]


def text_of(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = %s", [name])
        return str(cursor.fetchone()[0])


def test_what_is_there_is_not_touched() -> None:
    assert apply() == []


def test_a_former_signature_goes_with_its_grant() -> None:
    former = "billing_mark_sent(uuid[])"
    run(f"CREATE FUNCTION {former} RETURNS int LANGUAGE sql AS 'SELECT 1'")
    run(f"GRANT EXECUTE ON FUNCTION {former} TO {APP_ROLE}")
    assert apply() == ["billing_mark_sent"]
    assert signatures("billing_mark_sent") == ["billing_mark_sent(uuid[],timestamp with time zone)"]


def test_a_signature_that_was_the_only_one_is_replaced() -> None:
    run("DROP FUNCTION billing_mark_sent")
    run("CREATE FUNCTION billing_mark_sent(uuid[]) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert apply() == ["billing_mark_sent"]
    assert signatures("billing_mark_sent") == ["billing_mark_sent(uuid[],timestamp with time zone)"]


def test_one_that_returned_something_else_is_replaced() -> None:
    run("DROP FUNCTION billing_window_start")
    run(
        "CREATE FUNCTION billing_window_start(bigint, text, timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    assert apply() == ["billing_window_start"]
    assert "billing_budgetwindow" in text_of("billing_window_start")


def test_a_text_that_was_changed_by_hand_is_put_back() -> None:
    before = text_of("billing_refuse_change")
    run(
        "CREATE OR REPLACE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'"
    )
    assert apply() == ["billing_refuse_change"]
    assert text_of("billing_refuse_change") == before


def test_one_that_no_file_has_goes_unless_something_is_made_of_it() -> None:
    run("CREATE FUNCTION billing_of_yesterday() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert apply() == ["billing_of_yesterday"]
    assert signatures("billing_price_identity")


def test_while_migrations_are_missing_nothing_is_done() -> None:
    assert is_migrated()
    run("DELETE FROM django_migrations WHERE app = 'llm'")
    assert not is_migrated()


@pytest.mark.parametrize(
    "text",
    [
        "CREATE FUNCTION public.billing_x() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;\n",
        "CREATE OR REPLACE FUNCTION billing_x() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;\n",
        "GRANT EXECUTE ON FUNCTION public.billing_x TO purser_app;\n",
        "DROP TABLE billing_attempt;\n",
    ],
)
def test_a_file_has_functions_and_their_grants_only(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.sql"
    file.write_text(
        "-- why\nCREATE OR REPLACE FUNCTION public.a() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;\n" + text
    )
    with pytest.raises(UnreadableFunctions, match=r"odd\.sql"):
        read_functions(file)
