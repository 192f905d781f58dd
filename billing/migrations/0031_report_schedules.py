"""Schedules of reports, and their deliveries."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import tenants.secrets
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0030_alert_times'),
        ('tenants', '0008_rotations'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ReportSchedule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('what', models.CharField(choices=[('pack', 'the pack: every format'), ('report', 'the report'), ('statement', 'the statement')], default='pack', max_length=9)),
                ('formats', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=30), blank=True, default=list, help_text='of a report or a statement', size=None)),
                ('when', models.CharField(choices=[('close', 'after each close'), ('daily', 'every day, of the month that runs'), ('monthly', 'on a day of the month, of the month before')], default='close', max_length=7)),
                ('day', models.PositiveSmallIntegerField(blank=True, help_text='of the month: 1 to 28', null=True)),
                ('hour', models.PositiveSmallIntegerField(default=6, help_text="0 to 23, in the tenant's time zone; all tenants' in UTC")),
                ('kind', models.CharField(choices=[('email', 'e-mail'), ('s3', 'S3-compatible storage'), ('folder', 'folder of this installation')], default='email', max_length=6)),
                ('target', models.CharField(help_text='e-mail addresses, with commas between them; bucket/prefix; or a folder below REPORTS_FOLDER', max_length=300)),
                ('endpoint', models.CharField(blank=True, default='', help_text="of the storage; empty: Amazon's own", max_length=300)),
                ('region', models.CharField(blank=True, default='', help_text='such as eu-central-1', max_length=40)),
                ('access_key', tenants.secrets.EncryptedTextField(blank=True, default='')),
                ('secret_key', tenants.secrets.EncryptedTextField(blank=True, default='')),
                ('is_active', models.BooleanField(default=True)),
                ('next_at', models.DateTimeField(blank=True, editable=False, help_text='when its next day or month is due', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, help_text='empty: all tenants together, with our margin', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='report_schedules', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant', 'name'),
            },
        ),
        migrations.CreateModel(
            name='ReportDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('occasion', models.CharField(help_text='such as 2026-10-closed: the last folder of its files', max_length=30)),
                ('month', models.CharField(help_text='YYYY-MM', max_length=7)),
                ('state', models.CharField(choices=[('waiting', 'its files are being made'), ('pending', 'to be sent'), ('delivered', 'delivered'), ('dead', 'given up')], default='waiting', max_length=9)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('next_try_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('files', models.JSONField(blank=True, default=list, help_text='what was sent: name, bytes, sha256, place')),
                ('place', models.CharField(blank=True, default='', help_text='where it went', max_length=500)),
                ('last_error', models.CharField(blank=True, default='', max_length=500)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('delivered_at', models.DateTimeField(blank=True, null=True)),
                ('job', models.ForeignKey(blank=True, help_text='makes its files', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='billing.monthjob')),
                ('tenant', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
                ('schedule', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='billing.reportschedule')),
            ],
            options={
                'verbose_name_plural': 'report deliveries',
                'ordering': ('-created_at', '-pk'),
            },
        ),
        migrations.AddIndex(
            model_name='reportschedule',
            index=models.Index(condition=models.Q(('is_active', True), ('next_at__isnull', False)), fields=['next_at'], name='report_schedule_next'),
        ),
        migrations.AddConstraint(
            model_name='reportschedule',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='report_schedule_name_unique', nulls_distinct=False),
        ),
        migrations.AddConstraint(
            model_name='reportschedule',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('when', 'monthly'), ('day__gte', 1), ('day__lte', 28)), models.Q(models.Q(('when', 'monthly'), _negated=True), ('day__isnull', True)), _connector='OR'), name='report_schedule_day_of_months'),
        ),
        migrations.AddConstraint(
            model_name='reportschedule',
            constraint=models.CheckConstraint(condition=models.Q(('hour__lte', 23)), name='report_schedule_hour_of_day'),
        ),
        migrations.AddConstraint(
            model_name='reportschedule',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 's3'), _negated=True), models.Q(models.Q(('access_key', ''), _negated=True), models.Q(('secret_key', ''), _negated=True)), _connector='OR'), name='report_schedule_storage_has_keys'),
        ),
        migrations.AddIndex(
            model_name='reportdelivery',
            index=models.Index(condition=models.Q(('state__in', ('waiting', 'pending'))), fields=['next_try_at'], name='report_delivery_open'),
        ),
        migrations.AddConstraint(
            model_name='reportdelivery',
            constraint=models.UniqueConstraint(fields=('schedule', 'occasion'), name='report_delivery_once'),
        ),
        migrations.AddConstraint(
            model_name='reportdelivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('delivered_at__isnull', False), ('state', 'delivered')), models.Q(models.Q(('state', 'delivered'), _negated=True), ('delivered_at', None)), _connector='OR'), name='report_delivery_has_its_time'),
        ),
        EnableRLS("billing_reportschedule"),
        EnableRLS("billing_reportdelivery"),
    ]
