"""Requests counted by day, outcome and latency. What the log has already is counted here, later rows by `llm_log_requests`."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.rls import EnableRLS

COUNT_LOG = """
INSERT INTO llm_requesttally (tenant_id, day, provider, outcome, latency, first_token, requests)
SELECT tenant_id, (at AT TIME ZONE 'UTC')::date, provider,
       CASE WHEN status >= 500 THEN 'failed' WHEN status >= 400 THEN 'refused'
            WHEN cache_state IN ('exact', 'semantic') THEN 'cached' ELSE 'answered' END,
       least(ceil(8 * log(greatest(latency_ms, 1)::double precision)), 64),
       CASE WHEN ttft_ms IS NOT NULL THEN least(ceil(8 * log(greatest(ttft_ms, 1)::double precision)), 64) END, count(*)
FROM llm_requestlog GROUP BY 1, 2, 3, 4, 5, 6
"""


class Migration(migrations.Migration):
    dependencies = [
        ("llm", "0015_runs_of_requests"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name="RequestTally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(help_text="in UTC")),
                ("provider", models.TextField()),
                ("outcome", models.TextField()),
                ("latency", models.SmallIntegerField(help_text="a bucket")),
                ("first_token", models.SmallIntegerField(help_text="a bucket", null=True)),
                ("requests", models.IntegerField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RequestDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(help_text="in UTC")),
                ("provider", models.TextField()),
                (
                    "measure",
                    models.TextField(
                        choices=[
                            ("answered", "answered by a provider"),
                            ("cached", "answered from the cache"),
                            ("refused", "refused"),
                            ("failed", "failed"),
                            ("first_token", "first token of an answer"),
                        ]
                    ),
                ),
                ("bucket", models.SmallIntegerField()),
                ("requests", models.BigIntegerField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "day", "provider", "measure", "bucket"),
                        name="request_day_once",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
        EnableRLS("llm_requesttally"),
        EnableRLS("llm_requestday"),
        migrations.RunSQL(COUNT_LOG, migrations.RunSQL.noop),
    ]
