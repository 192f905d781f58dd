"""The accounts of a general ledger that a month's journal books to."""

import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0028_currencies'),
        ('tenants', '0002_rls_and_triggers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='HistoricalGlAccount',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('kind', models.CharField(choices=[('receivable', 'receivables'), ('revenue', 'revenue from usage'), ('credits', 'credits given'), ('commitments', 'minimum commitments'), ('tax', 'value-added tax'), ('accrual', 'accrued income')], max_length=11)),
                ('cost_center', models.CharField(blank=True, default='', help_text='empty: every one', max_length=200)),
                ('code', models.CharField(help_text='as the ledger that imports the journal knows it', max_length=40)),
                ('name', models.CharField(blank=True, default='', max_length=100)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, db_constraint=False, help_text='empty: every one', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'historical GL account',
                'verbose_name_plural': 'historical GL accounts',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='GlAccount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('receivable', 'receivables'), ('revenue', 'revenue from usage'), ('credits', 'credits given'), ('commitments', 'minimum commitments'), ('tax', 'value-added tax'), ('accrual', 'accrued income')], max_length=11)),
                ('cost_center', models.CharField(blank=True, default='', help_text='empty: every one', max_length=200)),
                ('code', models.CharField(help_text='as the ledger that imports the journal knows it', max_length=40)),
                ('name', models.CharField(blank=True, default='', max_length=100)),
                ('tenant', models.ForeignKey(blank=True, help_text='empty: every one', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'GL account',
                'ordering': ('kind', 'tenant', 'cost_center'),
                'constraints': [models.UniqueConstraint(fields=('kind', 'tenant', 'cost_center'), name='gl_account_once', nulls_distinct=False)],
            },
        ),
    ]
