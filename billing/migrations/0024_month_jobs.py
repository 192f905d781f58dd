"""Jobs of months and their files."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.comparison
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models

from tenants.rls import APP_ROLE, TENANT_SETTING, EnableRLS, GrantApp


class WallFiles(EnableRLS):
    """A statement's file has no tenant of its own: it is its statement's."""

    def __init__(self) -> None:
        super().__init__("billing_statementfile", "statement_id")

    def deconstruct(self):
        return "WallFiles", [], {}

    def forwards(self):
        own = "EXISTS (SELECT FROM billing_statement s WHERE s.id = statement_id AND s.tenant_id = "
        own += f"nullif(current_setting('{TENANT_SETTING}', true), '')::bigint)"
        return [
            f'ALTER TABLE "{self.table}" ENABLE ROW LEVEL SECURITY',
            f'CREATE POLICY tenant_isolation ON "{self.table}" FOR SELECT TO {APP_ROLE} USING ({own})',
        ]


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0023_month_files'),
        ('tenants', '0006_arrivals'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='MonthJob',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('report', 'files of a month'), ('close', 'closing')], max_length=6)),
                ('month', models.CharField(help_text='YYYY-MM', max_length=7)),
                ('formats', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=30), blank=True, default=list, size=None)),
                ('state', models.CharField(choices=[('queued', 'queued'), ('running', 'running'), ('done', 'done'), ('failed', 'failed')], default='queued', max_length=7)),
                ('step', models.CharField(blank=True, default='', help_text='what is done now', max_length=100)),
                ('done', models.BigIntegerField(default=0, help_text='lines that are written')),
                ('total', models.BigIntegerField(default=0, help_text='of so many; 0: not known yet')),
                ('error', models.CharField(blank=True, default='', max_length=500)),
                ('tries', models.SmallIntegerField(default=0)),
                ('key_id', models.BigIntegerField(blank=True, help_text='the API key that asked', null=True)),
                ('reason', models.CharField(blank=True, default='', help_text='why it is closed before its time', max_length=300)),
                ('made_at', models.DateTimeField(blank=True, help_text='what its files say that they are of', null=True)),
                ('fingerprint', models.CharField(blank=True, default='', help_text='of the sums that they have', max_length=64)),
                ('worker', models.UUIDField(blank=True, null=True)),
                ('leased_until', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('asked_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, help_text="whose month; empty: all tenants'", null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ('-created_at',),
            },
        ),
        migrations.CreateModel(
            name='MonthFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('format', models.CharField(max_length=30)),
                ('name', models.CharField(max_length=200)),
                ('content_type', models.CharField(max_length=100)),
                ('sha256', models.CharField(max_length=64)),
                ('size_bytes', models.BigIntegerField()),
                ('location', models.CharField(help_text='in the storage of files', max_length=200)),
                ('tenant', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='files', to='billing.monthjob')),
            ],
            options={
                'ordering': ('job', 'name'),
            },
        ),
        migrations.AddIndex(
            model_name='monthjob',
            index=models.Index(condition=models.Q(('state__in', ('queued', 'running'))), fields=['created_at'], name='month_job_open'),
        ),
        migrations.AddIndex(
            model_name='monthjob',
            index=models.Index(fields=['tenant', 'month', '-created_at'], name='month_job_of_month'),
        ),
        migrations.AddConstraint(
            model_name='monthjob',
            constraint=models.UniqueConstraint(django.db.models.functions.comparison.Coalesce(models.F('tenant'), models.Value(0)), models.F('month'), models.F('kind'), condition=models.Q(('state__in', ('queued', 'running'))), name='month_job_one_at_a_time'),
        ),
        migrations.AddConstraint(
            model_name='monthjob',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('leased_until__isnull', False), ('state', 'running'), ('worker__isnull', False)), models.Q(models.Q(('state', 'running'), _negated=True), ('leased_until', None), ('worker', None)), _connector='OR'), name='month_job_leased_while_running'),
        ),
        migrations.AddConstraint(
            model_name='monthfile',
            constraint=models.UniqueConstraint(fields=('job', 'name'), name='month_file_unique'),
        ),
        EnableRLS("billing_monthjob"),
        EnableRLS("billing_monthfile"),
        GrantApp("billing_monthjob", "SELECT, INSERT, UPDATE (formats)"),
        GrantApp("billing_monthfile", "SELECT"),
        GrantApp(
            "billing_statement",
            "SELECT (id, tenant_id, period_id, number, code, timezone, currency, total, tax, exact_usd, record_count,"
            " request_count, digest, previous_digest, issued_at)",
        ),
        WallFiles(),
        GrantApp("billing_statementfile", "SELECT"),
    ]
