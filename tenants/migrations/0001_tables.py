"""Tenants, their users, keys and members."""

import django.db.models.deletion
import django.utils.timezone
import simple_history.models
import tenants.models
import tenants.validation
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='HistoricalTenant',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('slug', models.SlugField(max_length=63)),
                ('name', models.CharField(max_length=200)),
                ('timezone', models.CharField(default='UTC', help_text="IANA name; budgets' days and months begin here", max_length=63, validators=[tenants.validation.validate_timezone])),
                ('status', models.CharField(choices=[('active', 'active'), ('paused', 'paused'), ('suspended', 'suspended'), ('closed', 'closed')], default='active', max_length=10)),
                ('policy', models.JSONField(blank=True, default=dict, help_text='only what differs from the defaults', validators=[tenants.validation.validate_policy])),
                ('rate_limits', models.JSONField(blank=True, default=dict, help_text='{"rpm": .., "tpm": .., "concurrency": ..}', validators=[tenants.validation.validate_rate_limits])),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'historical tenant',
                'verbose_name_plural': 'historical tenants',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='Tenant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(max_length=63, unique=True)),
                ('name', models.CharField(max_length=200)),
                ('timezone', models.CharField(default='UTC', help_text="IANA name; budgets' days and months begin here", max_length=63, validators=[tenants.validation.validate_timezone])),
                ('status', models.CharField(choices=[('active', 'active'), ('paused', 'paused'), ('suspended', 'suspended'), ('closed', 'closed')], default='active', max_length=10)),
                ('policy', models.JSONField(blank=True, default=dict, help_text='only what differs from the defaults', validators=[tenants.validation.validate_policy])),
                ('rate_limits', models.JSONField(blank=True, default=dict, help_text='{"rpm": .., "tpm": .., "concurrency": ..}', validators=[tenants.validation.validate_rate_limits])),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'ordering': ('slug',),
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ('active', 'paused', 'suspended', 'closed'))), name='tenant_status_known')],
            },
        ),
        migrations.CreateModel(
            name='HistoricalEndUser',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('external_id', models.CharField(max_length=200)),
                ('display_name', models.CharField(blank=True, default='', max_length=200)),
                ('cost_center', models.CharField(blank=True, default='', max_length=100)),
                ('is_active', models.BooleanField(default=True)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'historical end user',
                'verbose_name_plural': 'historical end users',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalApiKey',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('public_id', models.CharField(db_index=True, editable=False, max_length=40)),
                ('previous_expires_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('ip_allow_list', models.JSONField(blank=True, default=list, help_text='networks in CIDR form; empty allows every address', validators=[tenants.validation.validate_ip_allow_list])),
                ('rate_limits', models.JSONField(blank=True, default=dict, validators=[tenants.validation.validate_rate_limits])),
                ('user', models.CharField(blank=True, db_default='', default='', help_text='the person whose key it is: counted whatever user a call names', max_length=200)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('models', models.JSONField(blank=True, default=tenants.models.every_model, help_text='globs such as "gpt-*"; ["*"] allows every model, an empty list none', validators=[tenants.validation.validate_models])),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'historical API key',
                'verbose_name_plural': 'historical API keys',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('owner', 'owner'), ('finance', 'finance'), ('member', 'member')], default='member', max_length=10)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant', 'user'),
                'constraints': [models.UniqueConstraint(fields=('tenant', 'user'), name='membership_unique')],
            },
        ),
        migrations.CreateModel(
            name='EndUser',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('external_id', models.CharField(max_length=200)),
                ('display_name', models.CharField(blank=True, default='', max_length=200)),
                ('cost_center', models.CharField(blank=True, default='', max_length=100)),
                ('is_active', models.BooleanField(default=True)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='users', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant', 'external_id'),
                'constraints': [models.UniqueConstraint(fields=('tenant', 'external_id'), name='end_user_unique_in_tenant')],
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('public_id', models.CharField(editable=False, max_length=40, unique=True)),
                ('secret_hash', models.BinaryField(max_length=32)),
                ('previous_secret_hash', models.BinaryField(blank=True, max_length=32, null=True)),
                ('previous_expires_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('ip_allow_list', models.JSONField(blank=True, default=list, help_text='networks in CIDR form; empty allows every address', validators=[tenants.validation.validate_ip_allow_list])),
                ('rate_limits', models.JSONField(blank=True, default=dict, validators=[tenants.validation.validate_rate_limits])),
                ('user', models.CharField(blank=True, db_default='', default='', help_text='the person whose key it is: counted whatever user a call names', max_length=200)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('models', models.JSONField(blank=True, default=tenants.models.every_model, help_text='globs such as "gpt-*"; ["*"] allows every model, an empty list none', validators=[tenants.validation.validate_models])),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='keys', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'API key',
                'ordering': ('tenant', 'name'),
                'constraints': [models.UniqueConstraint(condition=models.Q(('revoked_at__isnull', True)), fields=('tenant', 'name'), name='api_key_name_unique_in_tenant'), models.CheckConstraint(condition=models.Q(models.Q(('previous_expires_at__isnull', True), ('previous_secret_hash__isnull', True)), models.Q(('previous_expires_at__isnull', False), ('previous_secret_hash__isnull', False)), _connector='OR'), name='api_key_previous_secret_ends')],
            },
        ),
    ]
