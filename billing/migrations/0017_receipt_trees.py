"""The tree of a closed month's rows, which receipts lead to. The gateway reads its tenant's own, and nobody changes one."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp

LAWS = """
CREATE TRIGGER only_while_closing AFTER INSERT ON billing_receipttree REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_receipttree
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_receipttree EXECUTE FUNCTION billing_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_rule_checks"), ("tenants", "0002_rls_and_triggers")]

    operations = [
        migrations.AddField(
            "statement",
            "receipts",
            models.JSONField(
                blank=True,
                default=dict,
                help_text="root and size of the tree of the month's rows, which receipts lead to",
            ),
        ),
        migrations.CreateModel(
            name="ReceiptTree",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=40)),
                ("row_count", models.BigIntegerField()),
                ("root", models.CharField(max_length=64)),
                ("chunks", models.BinaryField(help_text="each 1,024 rows: the first one and their hash")),
                (
                    "period",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.billingperiod",
                    ),
                ),
                (
                    "statement",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tree",
                        to="billing.statement",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
        ),
        EnableRLS("billing_receipttree"),
        GrantApp("billing_receipttree", "SELECT"),
        migrations.RunSQL(LAWS, migrations.RunSQL.noop),
    ]
