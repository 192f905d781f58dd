"""Sums by day know the period, the kind and the certainty of their rows, what was saved by each step, and bounds; and the few
rows that correct an earlier month are found without reading the others.
"""

import billing.models.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0011_planning"),
    ]

    operations = [
        migrations.AddField(
            model_name="usagedaily",
            name="calls",
            field=models.BigIntegerField(db_default=0, help_text="answers of providers"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="certainty",
            field=models.TextField(db_default="exact", help_text="as far as it is known today"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="charge_class",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="further_calls",
            field=models.BigIntegerField(db_default=0, help_text="of them hedges, fallbacks, repairs"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="kind",
            field=models.TextField(db_default="usage"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="least_cost",
            field=billing.models.fields.AmountField(db_default=0, help_text="the least that is billed, if all is known"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="most_cost",
            field=billing.models.fields.AmountField(db_default=0, help_text="the most"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="own_calls",
            field=models.BigIntegerField(db_default=0, help_text="of them the gateway's own"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="period_id",
            field=models.BigIntegerField(help_text="the period that its rows were booked in", null=True),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="records",
            field=models.BigIntegerField(db_default=0, help_text="rows of the ledger"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="saved_cost",
            field=billing.models.fields.AmountField(db_default=0, help_text="the list cost less what is billed of usage"),
        ),
        migrations.AddField(
            model_name="usagedaily",
            name="saving",
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), help_text="USD saved, by step"),
        ),
        migrations.AlterField(
            model_name="usagedaily",
            name="list_cost",
            field=billing.models.fields.AmountField(db_default=0, help_text="of requests, without us"),
        ),
        migrations.AlterField(
            model_name="usagesum",
            name="list_cost",
            field=billing.models.fields.AmountField(help_text="of requests; nothing else has a list price"),
        ),
        migrations.AlterField(
            model_name="usagesum",
            name="adjusted_cost",
            field=billing.models.fields.AmountField(
                help_text="what is billed besides usage: corrections, adjustments, credits"
            ),
        ),
        migrations.AlterField(
            model_name="usagesum",
            name="saving",
            field=models.JSONField(
                default=dict, help_text="of the total: USD that each step takes off the list price"
            ),
        ),
        migrations.AddIndex(
            model_name="usagedaily",
            index=models.Index(fields=["tenant", "period_id"], name="usage_daily_tenant_period"),
        ),
        migrations.RunSQL(
            "INSERT INTO billing_rollupdirty (tenant_id, day) SELECT DISTINCT tenant_id, day FROM billing_usagedaily",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            "CREATE INDEX usagerecord_corrections ON billing_usagerecord (tenant_id, occurred_at)"
            " WHERE charge_class = 'Correction'",
            "DROP INDEX usagerecord_corrections",
        ),
    ]
