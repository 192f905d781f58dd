"""Answers bought ahead of time: the questions that are asked most, and what a tenant's months came to."""

import django.db.models.deletion
from django.db import migrations, models

import tenants.secrets
from tenants.rls import EnableRLS, GrantApp

# Months are UTC's. The condition is that of the index usagerecord_refresh.
REFRESHED_MONTH = """
CREATE VIEW llm_refreshedmonth WITH (security_invoker = true) AS
SELECT concat(r.tenant_id, '/', to_char(r.month, 'YYYY-MM')) AS id, r.tenant_id, r.month,
       count(*) FILTER (WHERE r.cache_state = 'refresh' AND r.kind = 'usage')::integer AS refreshed,
       coalesce(sum(r.billed_cost), 0) AS cost_usd,
       count(*) FILTER (WHERE r.reason = 'refreshed ahead of time')::integer AS hits,
       coalesce(sum((r.saving ->> 'gateway_cache')::numeric) FILTER (WHERE r.reason = 'refreshed ahead of time'), 0) AS saved_usd,
       coalesce(sum((r.saving ->> 'gateway_cache')::numeric), 0) AS net_usd
FROM (SELECT *, date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date AS month FROM billing_usagerecord
      WHERE cache_state = 'refresh' OR reason = 'refreshed ahead of time') AS r
GROUP BY r.tenant_id, r.month
"""


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0007_refreshed_rows"),
        ("llm", "0013_file_contents"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name='RefreshedMonth',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('month', models.DateField()),
                ('refreshed', models.IntegerField(help_text='Answers bought ahead of time.')),
                ('cost_usd', models.DecimalField(decimal_places=12, max_digits=28)),
                ('hits', models.IntegerField(help_text='Calls that were answered after the answer before had expired.')),
                ('saved_usd', models.DecimalField(decimal_places=12, max_digits=28)),
                ('net_usd', models.DecimalField(decimal_places=12, max_digits=28)),
            ],
            options={
                'db_table': 'llm_refreshedmonth',
                'ordering': ['-month', 'tenant'],
                'managed': False,
            },
        ),
        migrations.AddField(
            model_name='deferredjob',
            name='is_refresh',
            field=models.BooleanField(default=False, help_text='No client asked: it buys an answer for the cache ahead of time, in a batch.'),
        ),
        migrations.CreateModel(
            name='AskedQuestion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('exact_key', models.CharField(help_text="Its answer's name in the exact cache.", max_length=200)),
                ('question', tenants.secrets.EncryptedTextField()),
                ('hits', models.PositiveIntegerField(default=0, help_text='Of the answer that is there now.')),
                ('expires_at', models.DateTimeField(help_text='When that answer expires.')),
                ('noted_at', models.DateTimeField()),
                ('refreshed_at', models.DateTimeField(blank=True, help_text='When it was asked ahead of time.', null=True)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-hits'],
                'indexes': [models.Index(fields=['tenant', 'expires_at'], name='askedquestion_expiry')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'exact_key'), name='askedquestion_once')],
            },
        ),
        EnableRLS("llm_askedquestion"),
        GrantApp("llm_askedquestion", "SELECT, INSERT, UPDATE"),
        migrations.RunSQL(REFRESHED_MONTH, "DROP VIEW llm_refreshedmonth"),
    ]
