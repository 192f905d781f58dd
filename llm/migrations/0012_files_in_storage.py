"""A file says where its content is and what its lines are, a batch what it may cost; the contents follow in the next migration."""

from django.db import migrations, models
from django.db.models.functions import Cast, Concat


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0011_batch_progress"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.AlterField(
            model_name="storedfile",
            name="bytes",
            field=models.BigIntegerField(help_text="While it arrives, what is kept free for it."),
        ),
        migrations.AddField(
            model_name="storedfile",
            name="status",
            field=models.CharField(
                choices=[("arriving", "Arriving"), ("processed", "Processed"), ("error", "Error")],
                default="processed",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="storedfile",
            name="location",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Its name in the storage; empty: it has no content any more.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="storedfile",
            name="report",
            field=models.JSONField(
                blank=True, help_text="What its lines are: numbers, models, tokens.", null=True
            ),
        ),
        migrations.AddField(
            model_name="storedfile",
            name="problems",
            field=models.JSONField(blank=True, default=list, help_text="What is wrong with its lines."),
        ),
        migrations.AddIndex(
            model_name="storedfile",
            index=models.Index(
                condition=models.Q(
                    models.Q(("location", ""), _negated=True),
                    models.Q(("status", "arriving"), models.Q(("deleted_at", None), _negated=True), _connector="OR"),
                ),
                fields=["id"],
                name="storedfile_to_sweep",
            ),
        ),
        migrations.AddConstraint(
            model_name="storedfile",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("location", ""),
                    ("location__startswith", Concat(Cast("tenant", models.CharField()), models.Value("/"))),
                    _connector="OR",
                ),
                name="storedfile_own_content",
            ),
        ),
        *(
            migrations.AddField(
                model_name="batch",
                name=name,
                field=models.DecimalField(
                    blank=True, decimal_places=12, help_text=help_text, max_digits=28, null=True
                ),
            )
            for name, help_text in (
                ("estimated_cost_usd", "As it was estimated at its creation."),
                ("estimated_list_cost_usd", "The same lines in real time, at list prices."),
                ("upper_bound_usd", "The sum of its lines' holds."),
            )
        ),
    ]
