"""Rows know which of the tags that their tenant requires they lack."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0017_receipt_trees")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE billing_usagerecord ADD COLUMN missing_tags text NOT NULL DEFAULT ''",
            "ALTER TABLE billing_usagerecord DROP COLUMN missing_tags",
            state_operations=[
                migrations.AddField("usagerecord", "missing_tags", models.TextField(default="", blank=True)),
            ],
        ),
        migrations.AddField("usagedaily", "missing_tags", models.TextField(db_default="", blank=True)),
    ]
