"""The ledger's partitioned tables, the triggers that keep the laws of money, and what the gateway may read.

The gateway reads a tenant's own rows only, and writes none of these: money moves in the functions of billing/functions.
"""

from pathlib import Path

from django.db import migrations

from tenants.rls import EnableRLS, GrantApp, NotifyOnChange, ReserveTriggerFunctions

SQL = Path(__file__).parent / "sql"
READABLE = (
    "billing_usagerecord",
    "billing_usageline",
    "billing_usagedaily",
    "billing_attempt",
    "billing_budget",
    "billing_budgetwindow",
    "billing_billingperiod",
    "billing_alertevent",
    "billing_raiserequest",
)
# the gateway has no business with these; the site, which has, sees all rows
UNREADABLE = ("billing_statement", "billing_manualentry", "billing_raterule")


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_tables"), ("tenants", "0002_rls_and_triggers")]

    operations = [
        ReserveTriggerFunctions(
            "billing_refuse_change",
            "billing_period_gate",
            "billing_line_gate",
            "billing_period_law",
            "billing_zone_law",
            "billing_price_immutable",
            "billing_rule_law",
            "billing_statement_law",
            "billing_statement_part_law",
            "billing_cost_line_law",
            "billing_comparison_law",
        ),
        migrations.RunSQL((SQL / "ledger.sql").read_text()),
        migrations.RunSQL((SQL / "laws.sql").read_text()),
        *[EnableRLS(table) for table in READABLE + UNREADABLE],
        *[GrantApp(table, "SELECT") for table in READABLE],
        NotifyOnChange("billing_pricerow"),
        NotifyOnChange("billing_budget"),
        NotifyOnChange("billing_raterule"),
    ]
