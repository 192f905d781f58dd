"""The chain of digests names the first thing that is not as it was."""

from datetime import datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from billing.ledger import digest
from billing.models import Statement, UsageRecord
from billing.months.statements import first_break
from tests.billing.shop import Shop


@pytest.fixture
def two_months(shop: Shop, month_before: datetime, last_month: datetime) -> tuple[Statement, Statement]:
    for at in (month_before, last_month):
        shop.call(at)
        shop.call(at.replace(day=11))
        shop.hit(at)
    return shop.close(month_before), shop.close(last_month)


def test_it_works(shop: Shop, two_months: tuple[Statement, Statement]) -> None:
    first, second = two_months
    assert first.previous_digest == ""
    assert second.previous_digest == first.digest
    assert first_break(shop.tenant) is None


def tamper(shop: Shop, sql: str, *arguments: object) -> str:
    """What the chain says after a superuser switched the triggers off; rolled back."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, arguments)
        assert cursor.rowcount >= 1
        found = str(first_break(shop.tenant) or "")
        transaction.set_rollback(True)
    return found


def test_a_changed_row_is_found_on_its_day(
    shop: Shop, two_months: tuple[Statement, Statement], month_before: datetime
) -> None:
    row = shop.rows(occurred_at=month_before)[0]
    found = tamper(shop, "UPDATE billing_usagerecord SET reason = 'x' WHERE id = %s", row.id)
    assert found.startswith(f"{two_months[0].code}: the ledger of {month_before:%Y-%m-10} is not what it was")


def test_the_first_of_two_breaks_is_told(
    shop: Shop, two_months: tuple[Statement, Statement], last_month: datetime
) -> None:
    found = tamper(
        shop, "UPDATE billing_usagerecord SET user_id = 'mallory' WHERE tenant_id = %s", shop.tenant.pk
    )
    assert found.startswith(two_months[0].code)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM billing_usagerecord WHERE id = %(record)s", "2 rows then, 1 now"),
        (
            "UPDATE billing_usageline SET quantity = quantity + 1 WHERE record_id = %(record)s",
            "is not what it was",
        ),
        ("DELETE FROM billing_usageline WHERE record_id = %(record)s AND line_no = 2", "is not what it was"),
        ("UPDATE billing_statementline SET amount = amount + 1 WHERE statement_id = %(second)s", "its lines"),
        (
            "UPDATE billing_statementfile SET content = 'x', location = '' WHERE statement_id = %(second)s",
            "the bytes of",
        ),
        (
            "UPDATE billing_statementfile SET location = tenant || '/nothing' FROM"
            " (SELECT tenant_id::text AS tenant FROM billing_statement WHERE id = %(second)s) AS s"
            " WHERE statement_id = %(second)s",
            "are lost",
        ),
        (
            "UPDATE billing_statementfile SET sha256 = 'x' WHERE statement_id = %(second)s",
            "the digests of its files",
        ),
        ("UPDATE billing_statement SET total = total + 1 WHERE id = %(second)s", "do not make its total"),
        ("UPDATE billing_statement SET forced_reason = 'x' WHERE id = %(second)s", "do not make its digest"),
        ("UPDATE billing_statement SET previous_digest = 'x' WHERE id = %(second)s", "does not follow"),
        ("UPDATE billing_billingperiod SET digest = 'x' WHERE id = %(period)s", "its month is not closed"),
        ("UPDATE billing_statement SET number = 9 WHERE id = %(second)s", "2 is missing"),
    ],
)
def test_whatever_is_changed_is_found(
    shop: Shop, two_months: tuple[Statement, Statement], last_month: datetime, sql: str, words: str
) -> None:
    second = two_months[1]
    names = {
        "record": shop.rows(occurred_at=last_month, usage_source="provider")[0].id,
        "second": second.pk,
        "period": second.period_id,
    }
    parts = {name: value for name, value in names.items() if f"%({name})s" in sql}
    name, value = next(iter(parts.items()))
    found = tamper(shop, sql.replace(f"%({name})s", "%s"), *[value] * sql.count(f"%({name})s"))
    assert words in found
    assert found.startswith("ST-")
    assert first_break(shop.tenant) is None


@pytest.mark.parametrize("version", [digest.LINES_AS_TEXT, digest.ROWS_BY_HASH])
def test_a_statement_is_read_as_it_was_written(
    shop: Shop, month_before: datetime, last_month: datetime, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Statements that were issued before rows had a hash of their own are verified as they were."""
    for at in (month_before, last_month):
        shop.call(at)
        shop.hit(at)
    monkeypatch.setattr(digest, "NEWEST", version)
    first = shop.close(month_before)
    monkeypatch.undo()
    shop.close(last_month)
    assert first.content_version == version
    assert first_break(shop.tenant) is None
    changed = "UPDATE billing_usageline SET quantity = quantity + 1 WHERE tenant_id = %s AND occurred_at = %s"
    assert tamper(shop, changed, shop.tenant.pk, month_before).startswith(f"{first.code}: the ledger of")


def test_every_column_of_a_row_is_part_of_its_digest(shop: Shop, last_month: datetime) -> None:
    """So that none is forgotten when one is added to the ledger; `recorded_at` of lines there is none."""
    row = shop.call(last_month)
    shop.close(last_month)
    columns = {field.column for field in UsageRecord._meta.fields}
    assert columns == {*digest.RECORD_COLUMNS, *digest.LATER_COLUMNS}
    for name in (
        "session",
        "run",
        "agent",
        "parent_agent",
        "agent_type",
        "missing_tags",
        "raw_usage",
        "saving",
        "recorded_at",
    ):
        value = {"raw_usage": '{"x": 1}', "saving": '{"x": "1"}', "recorded_at": "2020-01-01T00:00:00Z"}.get(
            name, "x"
        )
        found = tamper(shop, f"UPDATE billing_usagerecord SET {name} = %s WHERE id = %s", value, row)
        assert "is not what it was" in found, name


def test_the_command_tells_the_first_break(
    shop: Shop, two_months: tuple[Statement, Statement], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("verify_statements", "--tenant", shop.tenant.slug)
    assert "2 statements" in capsys.readouterr().out
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE billing_statement SET total = 7 WHERE id = %s", (two_months[1].pk,))
        with pytest.raises(CommandError, match="broken"):
            call_command("verify_statements", "--tenant", shop.tenant.slug)
        transaction.set_rollback(True)
