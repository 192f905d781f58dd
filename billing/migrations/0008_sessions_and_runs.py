"""The ledger's rows say in which session, run and agent they were made; the sums of sessions by hour."""

import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields
from tenants.rls import EnableRLS, GrantApp

# Few rows have either; the others pay nothing for the indexes.
COLUMNS = """
ALTER TABLE billing_usagerecord
    ADD COLUMN session text NOT NULL DEFAULT '',
    ADD COLUMN run text NOT NULL DEFAULT '',
    ADD COLUMN agent text NOT NULL DEFAULT '',
    ADD COLUMN parent_agent text NOT NULL DEFAULT '',
    ADD COLUMN agent_type text NOT NULL DEFAULT '';
CREATE INDEX usagerecord_session ON billing_usagerecord (tenant_id, session, occurred_at) WHERE session > '';
CREATE INDEX usagerecord_run ON billing_usagerecord (tenant_id, run, occurred_at) WHERE run > '';
"""
WITHOUT = """
ALTER TABLE billing_usagerecord
    DROP COLUMN session, DROP COLUMN run, DROP COLUMN agent, DROP COLUMN parent_agent, DROP COLUMN agent_type;
"""


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0007_refreshed_rows"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.RunSQL(COLUMNS, WITHOUT),
        migrations.CreateModel(
            name='AgentHour',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField(help_text='its first moment')),
                ('session', models.TextField(blank=True, db_default='')),
                ('run', models.TextField(blank=True, db_default='')),
                ('agent', models.TextField(blank=True, db_default='')),
                ('parent_agent', models.TextField(blank=True, db_default='')),
                ('agent_type', models.TextField(blank=True, db_default='')),
                ('user_id', models.TextField(blank=True, db_default='')),
                ('key_id', models.BigIntegerField(null=True)),
                ('model', models.TextField(blank=True, db_default='')),
                ('requests', models.BigIntegerField(db_default=0)),
                ('input_tokens', models.BigIntegerField(db_default=0, help_text='cached ones included')),
                ('output_tokens', models.BigIntegerField(db_default=0)),
                ('list_cost', billing.models.fields.AmountField(db_default=0)),
                ('billed_cost', billing.models.fields.AmountField(db_default=0)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ('-hour',),
                'verbose_name': 'session',
                'indexes': [models.Index(fields=['tenant', 'hour'], name='agenthour_tenant_hour'), models.Index(fields=['hour'], name='agenthour_hour'), models.Index(condition=models.Q(('session__gt', '')), fields=['tenant', 'session'], name='agenthour_session'), models.Index(condition=models.Q(('run__gt', '')), fields=['tenant', 'run'], name='agenthour_run')],
            },
        ),
        EnableRLS("billing_agenthour"),
        GrantApp("billing_agenthour", "SELECT"),
        # a day with a mark is read from the ledger
        EnableRLS("billing_rollupdirty"),
        GrantApp("billing_rollupdirty", "SELECT"),
    ]
