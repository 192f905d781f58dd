"""Windows in several rows, for budgets that every call hits."""

from django.db import migrations, models

import billing.models.fields

SHARDS = models.PositiveSmallIntegerField(
    db_default=1,
    default=1,
    help_text="rows per window: more than 1 lets that many workers admit at once; for budgets that all calls hit",
)
ALLOWANCE = billing.models.fields.AmountField(blank=True, null=True)


class Migration(migrations.Migration):
    dependencies = [("billing", "0020_reconciliation"), ("tenants", "0001_initial")]

    operations = [
        migrations.RemoveConstraint(model_name="budgetwindow", name="window_unique"),
        migrations.AddField(model_name="budget", name="shards", field=SHARDS),
        migrations.AddField(model_name="historicalbudget", name="shards", field=SHARDS.clone()),
        migrations.AddField(model_name="budgetwindow", name="allowance", field=ALLOWANCE),
        migrations.AddField(model_name="budgetwindow", name="allowance_of", field=ALLOWANCE.clone()),
        migrations.AddField(
            model_name="budgetwindow",
            name="shard",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddIndex(
            model_name="budgetwindow",
            index=models.Index(
                condition=models.Q(("allowance__isnull", False), ("shard", 0)),
                fields=["ends_at"],
                name="window_in_shards",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("shards__gte", 1), ("shards__lte", 64)), name="budget_shards_in_range"
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetwindow",
            constraint=models.UniqueConstraint(
                fields=("budget", "subject", "starts_at", "shard"), name="window_shard_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetwindow",
            constraint=models.CheckConstraint(
                condition=models.Q(("shard", 0), ("allowance__isnull", False), _connector="OR"),
                name="window_shard_has_allowance",
            ),
        ),
    ]
