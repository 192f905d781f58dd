"""The ledger's partitions, and the triggers that keep the laws of money."""

from pathlib import Path

from django.db import migrations

from billing import functions
from tenants.rls import EnableRLS, GrantApp, NotifyOnChange

PARTS = ("billing_ensure_partition(date)", "billing_guard_partition(text, text)")
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
        migrations.RunSQL(functions.sql_of("gates")),
        migrations.RunSQL((Path(__file__).parent / "sql" / "ledger.sql").read_text()),
        *[migrations.RunSQL(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC") for name in PARTS],
        # The gateway reads these for /v1, a tenant's own rows only; it writes none of them.
        *[EnableRLS(table) for table in READABLE],
        *[GrantApp(table, "SELECT") for table in READABLE],
        NotifyOnChange("billing_pricerow", "tenant_id"),
        NotifyOnChange("billing_budget", "tenant_id"),
    ]
