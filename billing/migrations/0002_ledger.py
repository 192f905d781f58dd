"""The ledger's partitioned tables, the triggers that keep the laws of money, and the functions that move it."""

from pathlib import Path

from django.contrib.postgres.operations import BtreeGistExtension
from django.db import migrations

from tenants.rls import EnableRLS, GrantApp, NotifyOnChange

SQL = Path(__file__).parent / "sql"

FUNCTIONS = [
    "billing_window_state(bigint[])",
    "billing_ensure_windows(bigint[], bigint[], text[], timestamptz[], timestamptz[], text[])",
    "billing_ensure_period(bigint, text, timestamptz, timestamptz)",
    "billing_admit(jsonb, bigint[], int[], int[], numeric[])",
    "billing_settle(jsonb)",
    "billing_record_hits(jsonb)",
    "billing_progress(uuid[], jsonb[])",
]
INTERNAL = ["billing_insert_records(jsonb, uuid[])", "billing_budget_events(bigint[], numeric[])", "billing_ensure_partition(date)"]


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("tenants", "0001_initial")]

    operations = [
        BtreeGistExtension(),
        migrations.RunSQL((SQL / "ledger.sql").read_text(), migrations.RunSQL.noop),
        migrations.RunSQL((SQL / "money_functions.sql").read_text(), migrations.RunSQL.noop),
        *[migrations.RunSQL(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC") for name in FUNCTIONS + INTERNAL],
        *[GrantApp(name, "EXECUTE", "FUNCTION") for name in FUNCTIONS],
        EnableRLS("billing_usagerecord"),
        EnableRLS("billing_usageline"),
        EnableRLS("billing_budget"),
        EnableRLS("billing_budgetwindow"),
        EnableRLS("billing_attempt"),
        EnableRLS("billing_usagedaily"),
        GrantApp("billing_usagerecord", "SELECT"),
        GrantApp("billing_usageline", "SELECT"),
        GrantApp("billing_budget", "SELECT"),
        GrantApp("billing_budgetwindow", "SELECT"),
        GrantApp("billing_attempt", "SELECT"),
        GrantApp("billing_usagedaily", "SELECT"),
        NotifyOnChange("billing_pricerow", "tenant_id"),
        NotifyOnChange("billing_budget", "tenant_id"),
    ]
