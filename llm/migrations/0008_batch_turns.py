"""When each tenant's batches were last worked on, by which its turn comes. Only the worker sees it."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0007_batch_plans"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name="BatchTurn",
            fields=[
                ("tenant", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name="+", serialize=False, to="tenants.tenant")),
                ("at", models.DateTimeField()),
                ("batch_id", models.BigIntegerField()),
            ],
        ),
        EnableRLS("llm_batchturn"),
    ]
