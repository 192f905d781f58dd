"""A row of the log is not checked against its tenant when the money that it goes along with commits; and a tenant's log is
found by `requestlog_tenant_at`, so it needs no second index."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("llm", "0003_provider_options"), ("tenants", "0002_rls_and_triggers")]

    operations = [
        migrations.AlterField(
            model_name="requestlog",
            name="tenant",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
    ]
