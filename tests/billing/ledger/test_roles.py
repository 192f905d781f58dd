"""What the gateway's own role may do with money: read its tenant's, and call the functions that move it."""

from collections.abc import Callable

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from tests.billing.conftest import Account

TABLES = (
    "usagerecord",
    "usageline",
    "budgetwindow",
    "budget",
    "attempt",
    "billingperiod",
    "pricerow",
    "alertevent",
)


@pytest.mark.parametrize("table", TABLES)
def test_the_gateways_role_writes_no_table_of_money(committed: None, table: str) -> None:
    url = f"{settings.DATABASE_URL.rpartition('/')[0]}/{connection.settings_dict['NAME']}"
    with psycopg.connect(url, autocommit=True) as gateway:
        gateway.execute("SET ROLE purser_app")
        for sql in ("DELETE FROM billing_{}", "TRUNCATE billing_{}", "UPDATE billing_{} SET tenant_id = 1"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                gateway.execute(sql.format(table))


def test_the_gateways_role_reads_its_tenant_only_and_calls_no_inner_function(
    make_account: Callable[..., Account],
) -> None:
    account = make_account({"limit": 1})
    url = f"{settings.DATABASE_URL.rpartition('/')[0]}/{connection.settings_dict['NAME']}"
    with psycopg.connect(url, autocommit=True) as gateway:
        gateway.execute("SET ROLE purser_app")
        count = "SELECT count(*) FROM billing_budget WHERE tenant_id = %s"
        assert gateway.execute(count, [account.tenant_id]).fetchone() == (0,)
        gateway.execute("SELECT set_config('app.tenant', %s, false)", [str(account.tenant_id)])
        assert gateway.execute(count, [account.tenant_id]).fetchone() == (1,)
        for call in (
            "billing_period_at(1, now())",
            "billing_ensure_partition(now()::date)",
            "billing_describe_windows('{1}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                gateway.execute(f"SELECT {call}")
