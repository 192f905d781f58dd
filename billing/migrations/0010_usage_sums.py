"""Days of the ledger along one dimension. Those that are there already are summed by the next rebuilds."""

import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields
from tenants.rls import EnableRLS

MARK_ALL = """
INSERT INTO billing_rollupdirty (tenant_id, day) SELECT DISTINCT tenant_id, day FROM billing_usagedaily
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_run_envelopes"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name="UsageSum",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(help_text="in UTC")),
                (
                    "dimension",
                    models.CharField(
                        choices=[
                            ("total", "total"),
                            ("model", "model"),
                            ("user", "user"),
                            ("feature", "feature"),
                            ("key", "key"),
                            ("tier", "tier"),
                        ],
                        max_length=7,
                    ),
                ),
                ("value", models.TextField(blank=True, default="")),
                (
                    "is_rest",
                    models.BooleanField(
                        default=False, help_text="the values of the day that have no row of their own"
                    ),
                ),
                ("requests", models.BigIntegerField()),
                ("hits", models.BigIntegerField(help_text="of the requests: answered by our caches")),
                (
                    "list_cost",
                    billing.models.fields.AmountField(
                        help_text="of calls; entries by hand have no list price"
                    ),
                ),
                (
                    "adjusted_cost",
                    billing.models.fields.AmountField(
                        help_text="entries by hand and differences to the provider's bill"
                    ),
                ),
                ("billed_cost", billing.models.fields.AmountField()),
                ("saving", models.JSONField(default=dict, help_text="of the total: USD by kind")),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["dimension", "day"], name="usage_sum_of_all")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "dimension", "day", "value", "is_rest"), name="usage_sum_once"
                    )
                ],
            },
        ),
        EnableRLS("billing_usagesum"),
        migrations.RunSQL(MARK_ALL, migrations.RunSQL.noop),
    ]
