"""Every row of the ledger is made of one record type: a column more is known to all that write rows."""

from decimal import Decimal
from uuid import UUID

import orjson
import pytest
from django.db import connection

from billing.ledger.corrections import credit
from billing.models import UsageRecord
from tests.billing.shop import month_ago, open_shop

pytestmark = pytest.mark.django_db


def add_column() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_usagerecord ADD COLUMN team text NOT NULL DEFAULT ''")


def team_of(row_id: UUID) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT team FROM billing_usagerecord WHERE id = %s", [row_id])
        return str(cursor.fetchone()[0])


def test_a_blank_record_says_what_the_table_says() -> None:
    shop = open_shop()
    shop.call(month_ago())
    with connection.cursor() as cursor:
        # a row of which an INSERT says only what has no default
        cursor.execute(
            "INSERT INTO billing_usagerecord (id, occurred_at, tenant_id, period_id, usage_source)"
            " SELECT gen_random_uuid(), occurred_at, tenant_id, period_id, 'manual' FROM billing_usagerecord"
            " WHERE tenant_id = %s RETURNING to_jsonb(billing_usagerecord)",
            [shop.tenant.pk],
        )
        inserted = orjson.loads(cursor.fetchone()[0])
        cursor.execute("SELECT to_jsonb(billing_blank_record())")
        blank = orjson.loads(cursor.fetchone()[0])
    told = ("id", "occurred_at", "recorded_at", "tenant_id", "period_id", "usage_source")
    assert {name: value for name, value in inserted.items() if name not in told} == {
        name: value for name, value in blank.items() if name not in told
    }


def test_settlements_of_a_session_that_goes_on_know_a_column_that_was_added() -> None:
    shop, at = open_shop(), month_ago()
    for _ in range(7):  # until its plans are kept
        shop.call(at)
    add_column()
    attempt_id = shop.open_attempt(at)
    with connection.cursor() as cursor:
        cursor.execute(
            'UPDATE billing_attempt SET dims = dims || \'{"team": "red"}\' WHERE id = %s', [attempt_id]
        )
    shop.call(at, attempt_id=attempt_id)
    assert team_of(attempt_id) == "red"
    assert team_of(shop.call(at)) == ""


def test_everything_else_that_writes_rows_knows_it_too() -> None:
    shop, at = open_shop(), month_ago()
    shop.hit(at)
    credit(shop.tenant, amount_usd=Decimal(1), reason="before", acting_user=None)
    add_column()
    shop.hit(at)
    credit(shop.tenant, amount_usd=Decimal(1), reason="after", acting_user=None)
    attempt_id = shop.call(at, usage_source="estimated")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_usagerecord DISABLE TRIGGER append_only")
        cursor.execute("UPDATE billing_usagerecord SET team = 'red' WHERE id = %s", [attempt_id])
        cursor.execute("ALTER TABLE billing_usagerecord ENABLE TRIGGER append_only")
    shop.call(at, {"input": 7, "output": 7}, attempt_id=attempt_id)
    (correction,) = UsageRecord.objects.filter(tenant=shop.tenant, kind="correction")
    assert team_of(correction.pk) == "red"
    assert correction.attempt_id == attempt_id
