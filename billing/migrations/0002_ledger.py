"""The ledger's partitions, the triggers that keep the laws of money, and the functions that move it."""

from pathlib import Path

from django.db import migrations

from tenants.rls import EnableRLS, GrantApp, NotifyOnChange

SQL = Path(__file__).parent / "sql"

# What the gateway may call. The others are their parts, for the owner only.
FUNCTIONS = (
    "billing_balances(bigint, bigint[], text[], timestamptz[])",
    "billing_ensure_windows(bigint[], text[], timestamptz[], timestamptz[])",
    "billing_settle(uuid[], text[], numeric[], bigint[], jsonb, jsonb)",
    "billing_void(uuid[], text[])",
    "billing_record_hits(jsonb, bigint[])",
    "billing_progress(uuid[], text[], timestamptz)",
    "billing_mark_sent(uuid[], timestamptz)",
)
PARTS = (
    "billing_window_states(bigint[])",
    "billing_describe_windows(bigint[])",
    "billing_period_at(bigint, timestamptz)",
    "billing_open_period_after(bigint, timestamptz)",
    "billing_correct_estimates(uuid[], int[], bigint[], numeric[], bigint[], jsonb, jsonb)",
    "billing_alert_budgets(bigint[], numeric[])",
    "billing_alert_requests(uuid[], int[], bigint[], numeric[], jsonb)",
    "billing_ensure_partition(date)",
    "billing_guard_partition(text, text)",
)
READABLE = (
    "billing_usagerecord",
    "billing_usageline",
    "billing_usagedaily",
    "billing_attempt",
    "billing_budget",
    "billing_budgetwindow",
    "billing_billingperiod",
    "billing_alertevent",
)


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("tenants", "0001_initial")]

    operations = [
        migrations.RunSQL((SQL / "ledger.sql").read_text()),
        migrations.RunSQL((SQL / "money.sql").read_text()),
        *[migrations.RunSQL(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC") for name in FUNCTIONS + PARTS],
        *[GrantApp(name, "EXECUTE", "FUNCTION") for name in FUNCTIONS],
        # The gateway reads these for /v1, a tenant's own rows only; it writes none of them.
        *[EnableRLS(table) for table in READABLE],
        *[GrantApp(table, "SELECT") for table in READABLE],
        NotifyOnChange("billing_pricerow", "tenant_id"),
        NotifyOnChange("billing_budget", "tenant_id"),
    ]
