"""A batch's jobs at the providers, and what each line cost."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):
    dependencies = [
        ("llm", "0002_isolation"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.RemoveField(
            model_name="batch",
            name="provider_jobs",
        ),
        migrations.AddField(
            model_name="batch",
            name="tags",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name="batchitem",
            name="cost_usd",
            field=models.DecimalField(decimal_places=12, default=0, max_digits=28),
        ),
        migrations.AddField(
            model_name="batchitem",
            name="input_tokens",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="batchitem",
            name="list_cost_usd",
            field=models.DecimalField(
                decimal_places=12,
                default=0,
                help_text="The list price of the same tokens online.",
                max_digits=28,
            ),
        ),
        migrations.AddField(
            model_name="batchitem",
            name="output_tokens",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="batchitem",
            name="attempt_id",
            field=models.UUIDField(unique=True),
        ),
        migrations.AlterField(
            model_name="batchitem",
            name="custom_id",
            field=models.CharField(max_length=512),
        ),
        migrations.AlterField(
            model_name="batchitem",
            name="request_id",
            field=models.UUIDField(help_text="Also the line's name at the provider.", unique=True),
        ),
        migrations.CreateModel(
            name="BatchJob",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    models.CharField(
                        help_text="Our name for it in the provider's metadata.", max_length=64, unique=True
                    ),
                ),
                ("provider", models.CharField(max_length=64)),
                ("model", models.CharField(max_length=128)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("new", "New"),
                            ("submitting", "Submitting"),
                            ("submitted", "Submitted"),
                            ("finished", "Finished"),
                        ],
                        default="new",
                        max_length=16,
                    ),
                ),
                ("upstream_file_id", models.CharField(blank=True, default="", max_length=200)),
                ("upstream_id", models.CharField(blank=True, default="", max_length=200)),
                ("upstream_status", models.CharField(blank=True, default="", max_length=32)),
                ("submitting_at", models.DateTimeField(blank=True, null=True)),
                ("submitted_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("cancel_asked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "next_look_at",
                    models.DateTimeField(
                        blank=True, help_text="Not before then is the provider asked again.", null=True
                    ),
                ),
                (
                    "failures",
                    models.PositiveIntegerField(
                        default=0, help_text="Calls to the provider that failed in a row."
                    ),
                ),
                ("last_error", models.CharField(blank=True, default="", max_length=1000)),
                (
                    "batch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="jobs", to="llm.batch"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["batch", "pk"],
            },
        ),
        migrations.AddField(
            model_name="batchitem",
            name="job",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="items",
                to="llm.batchjob",
            ),
        ),
        migrations.AddConstraint(
            model_name="batchjob",
            constraint=models.UniqueConstraint(
                fields=("batch", "provider", "model"), name="batchjob_one_per_model"
            ),
        ),
        EnableRLS("llm_batchjob"),
        GrantApp("llm_batchjob", "SELECT"),
    ]
