"""The providers' cost reports, and how they compare with the ledger."""

from pathlib import Path

import billing.models.fields
import billing.models.reconciliation
import django.db.models.deletion
import django.utils.timezone
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0031_estimates_and_raise_requests"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='CostReport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(help_text="the account's name, as in the ledger", max_length=64)),
                ('kind', models.CharField(max_length=16)),
                ('source', models.CharField(choices=[('pull', 'pulled'), ('upload', 'uploaded')], max_length=6)),
                ('first_day', models.DateField(help_text='in UTC')),
                ('last_day', models.DateField(help_text='in UTC, included')),
                ('line_count', models.IntegerField()),
                ('total_usd', billing.models.reconciliation.ReportedField(decimal_places=30, max_digits=48)),
                ('digest', models.CharField(help_text='sha256 of what was received', max_length=64)),
                ('file_name', models.CharField(blank=True, default='', max_length=200)),
                ('model_names', models.JSONField(default=dict, help_text="our names of the account's models and the provider's, as they were then")),
                ('fetched_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('fetched_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': "provider's cost report",
                'ordering': ('-fetched_at',),
            },
        ),
        migrations.CreateModel(
            name='CostReportLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=64)),
                ('day', models.DateField(help_text='in UTC')),
                ('line_item', models.CharField(blank=True, default='', help_text='as the provider says it', max_length=300)),
                ('project', models.CharField(blank=True, default='', help_text='or workspace', max_length=100)),
                ('model', models.CharField(blank=True, default='', help_text='ours, where the line names it', max_length=128)),
                ('meter', models.CharField(blank=True, default='', max_length=64)),
                ('processing', models.CharField(blank=True, default='', max_length=10)),
                ('quantity', billing.models.reconciliation.ReportedField(decimal_places=30, max_digits=48, null=True)),
                ('amount_usd', billing.models.reconciliation.ReportedField(decimal_places=30, max_digits=48)),
                ('superseded_at', models.DateTimeField(blank=True, null=True)),
                ('report', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='billing.costreport')),
            ],
            options={
                'verbose_name': 'line of a cost report',
                'ordering': ('day', 'model', 'meter', 'line_item'),
            },
        ),
        migrations.CreateModel(
            name='HistoricalCostComparison',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('provider', models.CharField(max_length=64)),
                ('day', models.DateField(help_text='in UTC')),
                ('model', models.CharField(blank=True, default='', max_length=128)),
                ('meter', models.CharField(blank=True, default='', max_length=64)),
                ('kind', models.CharField(choices=[('match', 'match'), ('rounding', 'rounding'), ('boundary', 'day boundary'), ('quantity', 'quantity'), ('price', 'price'), ('missing_here', 'missing here'), ('missing_there', 'missing there'), ('bypass', 'bypass')], max_length=13)),
                ('detail', models.TextField(blank=True, default='', help_text='what speaks for this kind')),
                ('is_within_tolerance', models.BooleanField(help_text='of its day and model: 0.01 USD or 0.1 %')),
                ('our_quantity', billing.models.reconciliation.ReportedField(decimal_places=30, max_digits=48, null=True)),
                ('their_quantity', billing.models.reconciliation.ReportedField(decimal_places=30, max_digits=48, null=True)),
                ('our_usd', billing.models.fields.AmountField(default=0)),
                ('their_usd', billing.models.reconciliation.ReportedField(decimal_places=30, default=0, max_digits=48)),
                ('difference_usd', billing.models.reconciliation.ReportedField(decimal_places=30, help_text='theirs less ours', max_digits=48)),
                ('status', models.CharField(choices=[('open', 'open'), ('explained', 'explained'), ('resolved', 'resolved')], default='open', max_length=9)),
                ('reason', models.TextField(blank=True, default='')),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('adjustment_id', models.UUIDField(blank=True, help_text='the ledger row that books the difference', null=True)),
                ('adjusted_usd', billing.models.fields.AmountField(blank=True, null=True)),
                ('compared_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('decided_by', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'historical comparison with a provider',
                'verbose_name_plural': 'historical comparisons with providers',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='CostComparison',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=64)),
                ('day', models.DateField(help_text='in UTC')),
                ('model', models.CharField(blank=True, default='', max_length=128)),
                ('meter', models.CharField(blank=True, default='', max_length=64)),
                ('kind', models.CharField(choices=[('match', 'match'), ('rounding', 'rounding'), ('boundary', 'day boundary'), ('quantity', 'quantity'), ('price', 'price'), ('missing_here', 'missing here'), ('missing_there', 'missing there'), ('bypass', 'bypass')], max_length=13)),
                ('detail', models.TextField(blank=True, default='', help_text='what speaks for this kind')),
                ('is_within_tolerance', models.BooleanField(help_text='of its day and model: 0.01 USD or 0.1 %')),
                ('our_quantity', billing.models.reconciliation.ReportedField(decimal_places=30, max_digits=48, null=True)),
                ('their_quantity', billing.models.reconciliation.ReportedField(decimal_places=30, max_digits=48, null=True)),
                ('our_usd', billing.models.fields.AmountField(default=0)),
                ('their_usd', billing.models.reconciliation.ReportedField(decimal_places=30, default=0, max_digits=48)),
                ('difference_usd', billing.models.reconciliation.ReportedField(decimal_places=30, help_text='theirs less ours', max_digits=48)),
                ('status', models.CharField(choices=[('open', 'open'), ('explained', 'explained'), ('resolved', 'resolved')], default='open', max_length=9)),
                ('reason', models.TextField(blank=True, default='')),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('adjustment_id', models.UUIDField(blank=True, help_text='the ledger row that books the difference', null=True)),
                ('adjusted_usd', billing.models.fields.AmountField(blank=True, null=True)),
                ('compared_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'comparison with a provider',
                'verbose_name_plural': 'comparisons with providers',
                'ordering': ('-day', 'provider', 'model', 'meter'),
                'constraints': [models.UniqueConstraint(fields=('provider', 'day', 'model', 'meter'), name='comparison_once'), models.CheckConstraint(condition=models.Q(models.Q(('adjusted_usd', None), ('adjustment_id', None)), models.Q(('adjusted_usd__isnull', False), ('adjustment_id__isnull', False)), _connector='OR'), name='comparison_adjustment_whole')],
            },
        ),
        migrations.AddIndex(
            model_name='costreport',
            index=models.Index(fields=['provider', 'first_day'], name='cost_report_days'),
        ),
        migrations.AddConstraint(
            model_name='costreport',
            constraint=models.CheckConstraint(condition=models.Q(('last_day__gte', models.F('first_day'))), name='cost_report_ends'),
        ),
        migrations.AddConstraint(
            model_name='costreportline',
            constraint=models.UniqueConstraint(condition=models.Q(('superseded_at', None)), fields=('provider', 'day', 'line_item', 'project', 'model', 'meter', 'processing'), name='cost_line_live_once'),
        ),
        migrations.RunSQL((Path(__file__).parent / "sql" / "reconciliation.sql").read_text()),
    ]
