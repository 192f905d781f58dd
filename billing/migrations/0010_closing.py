"""Statements of closed months, rate rules, re-ratings, and the laws the database keeps of them."""

from pathlib import Path

import billing.models.fields
import django.db.models.deletion
import django.utils.timezone
import simple_history.models
import uuid
from django.conf import settings
from django.db import migrations, models

from billing import functions
from tenants.rls import EnableRLS, NotifyOnChange


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0002_ledger"),
        ('tenants', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='HistoricalRateRule',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('priority', models.IntegerField(help_text='the lowest number that fits counts')),
                ('kind', models.CharField(choices=[('pass_through', 'as listed'), ('markup_pct', 'markup, percent'), ('discount_pct', 'discount, percent'), ('fixed_unit_price', 'fixed unit price, USD')], max_length=20)),
                ('value', billing.models.fields.UnitPriceField(blank=True, help_text="percent, or USD for as many units as the list's price", null=True)),
                ('provider', models.CharField(blank=True, default='', help_text='empty: every one', max_length=64)),
                ('model', models.CharField(blank=True, default='', help_text='a name or a pattern such as gpt-4*; empty: every one', max_length=128)),
                ('meter', models.CharField(blank=True, default='', help_text='empty: every one', max_length=64)),
                ('processing', models.CharField(blank=True, default='', help_text='empty: every one', max_length=10)),
                ('valid_from', models.DateTimeField(default=django.utils.timezone.now)),
                ('valid_to', models.DateTimeField(blank=True, null=True)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('created_by', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'historical rate rule',
                'verbose_name_plural': 'historical rate rules',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='ManualEntry',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('credit', 'credit'), ('adjustment', 'adjustment')], max_length=10)),
                ('amount_usd', billing.models.fields.AmountField(help_text='as the ledger has it: a credit is negative')),
                ('reason', models.TextField()),
                ('entered_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('entered_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('period', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.billingperiod')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='manual_entries', to='tenants.tenant')),
            ],
            options={
                'verbose_name_plural': 'manual entries',
                'ordering': ('-entered_at',),
            },
        ),
        migrations.CreateModel(
            name='Rerating',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(blank=True, default='', max_length=64)),
                ('model', models.CharField(blank=True, default='', max_length=128)),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField()),
                ('reason', models.TextField()),
                ('status', models.CharField(choices=[('proposed', 'proposed'), ('applied', 'applied'), ('rejected', 'rejected')], default='proposed', max_length=8)),
                ('digest', models.CharField(help_text='sha256 over the differences', max_length=64)),
                ('record_count', models.IntegerField()),
                ('skipped_count', models.IntegerField(default=0, help_text='rows that the books cannot rate: lumps, no price')),
                ('list_delta', billing.models.fields.AmountField()),
                ('provider_delta', billing.models.fields.AmountField()),
                ('contracted_delta', billing.models.fields.AmountField()),
                ('billed_delta', billing.models.fields.AmountField()),
                ('proposed_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('proposed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, help_text='empty: all', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ('-proposed_at',),
            },
        ),
        migrations.CreateModel(
            name='Statement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.IntegerField(help_text="counts the tenant's statements from 1, without a gap")),
                ('code', models.CharField(help_text='as invoices and FOCUS name it', max_length=40)),
                ('timezone', models.CharField(max_length=63)),
                ('currency', models.CharField(default='USD', max_length=3)),
                ('fx_rate', billing.models.fields.AmountField(default=1, help_text='units of the currency for one USD, frozen')),
                ('record_count', models.BigIntegerField()),
                ('exact_usd', billing.models.fields.AmountField(help_text="the ledger's sum")),
                ('rounding', billing.models.fields.AmountField(help_text='what the printed lines lack of the total')),
                ('total', billing.models.fields.AmountField()),
                ('previous_digest', models.CharField(blank=True, default='', max_length=64)),
                ('day_digests', models.JSONField(help_text="sha256 and count of the month's rows, by UTC day")),
                ('content_digest', models.CharField(help_text="sha256 over the lines and the files' digests", max_length=64)),
                ('digest', models.CharField(help_text='sha256 over all of this and the digest before', max_length=64)),
                ('issued_at', models.DateTimeField()),
                ('forced_reason', models.TextField(blank=True, default='', help_text='why it was closed before its time, or with calls still open')),
                ('issued_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('period', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='statement', to='billing.billingperiod')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='statements', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant', '-number'),
            },
        ),
        migrations.CreateModel(
            name='StatementFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('format', models.CharField(max_length=20)),
                ('name', models.CharField(max_length=200)),
                ('content_type', models.CharField(max_length=100)),
                ('sha256', models.CharField(max_length=64)),
                ('content', models.BinaryField()),
                ('statement', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='files', to='billing.statement')),
            ],
            options={
                'ordering': ('statement', 'format'),
            },
        ),
        migrations.CreateModel(
            name='StatementLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('line_no', models.IntegerField()),
                ('category', models.CharField(choices=[('usage', 'usage'), ('correction', 'correction'), ('credit', 'credit'), ('adjustment', 'adjustment'), ('rounding', 'rounding')], max_length=10)),
                ('charge_class', models.CharField(blank=True, default='', max_length=10)),
                ('charge_month', models.CharField(blank=True, default='', help_text='of a correction: the month it belongs to', max_length=7)),
                ('cost_center', models.TextField(blank=True, default='')),
                ('user_id', models.TextField(blank=True, default='')),
                ('key_id', models.BigIntegerField(null=True)),
                ('key_name', models.TextField(blank=True, default='')),
                ('provider', models.TextField(blank=True, default='')),
                ('model', models.TextField(blank=True, default='')),
                ('processing', models.TextField(blank=True, default='')),
                ('meter', models.TextField(blank=True, default='')),
                ('quantity', models.BigIntegerField(default=0)),
                ('unit', models.CharField(blank=True, default='', max_length=20)),
                ('per', models.IntegerField(default=1)),
                ('unit_price', billing.models.fields.UnitPriceField(null=True)),
                ('exact_usd', billing.models.fields.AmountField()),
                ('amount', billing.models.fields.AmountField(help_text="in the statement's currency, rounded half up once")),
                ('text', models.TextField(blank=True, default='', help_text='of a credit or adjustment: its reason')),
                ('statement', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='billing.statement')),
            ],
            options={
                'ordering': ('statement', 'line_no'),
            },
        ),
        migrations.CreateModel(
            name='RateRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('priority', models.IntegerField(help_text='the lowest number that fits counts')),
                ('kind', models.CharField(choices=[('pass_through', 'as listed'), ('markup_pct', 'markup, percent'), ('discount_pct', 'discount, percent'), ('fixed_unit_price', 'fixed unit price, USD')], max_length=20)),
                ('value', billing.models.fields.UnitPriceField(blank=True, help_text="percent, or USD for as many units as the list's price", null=True)),
                ('provider', models.CharField(blank=True, default='', help_text='empty: every one', max_length=64)),
                ('model', models.CharField(blank=True, default='', help_text='a name or a pattern such as gpt-4*; empty: every one', max_length=128)),
                ('meter', models.CharField(blank=True, default='', help_text='empty: every one', max_length=64)),
                ('processing', models.CharField(blank=True, default='', help_text='empty: every one', max_length=10)),
                ('valid_from', models.DateTimeField(default=django.utils.timezone.now)),
                ('valid_to', models.DateTimeField(blank=True, null=True)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='rate_rules', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant', 'priority', 'valid_from'),
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ('pass_through', 'markup_pct', 'discount_pct', 'fixed_unit_price'))), name='rate_rule_kind_known'), models.CheckConstraint(condition=models.Q(models.Q(('kind', 'pass_through'), ('value__isnull', True)), models.Q(models.Q(('kind', 'pass_through'), _negated=True), ('value__isnull', False)), _connector='OR'), name='rate_rule_value_where_needed'), models.CheckConstraint(condition=models.Q(('value__isnull', True), ('value__gte', 0), _connector='OR'), name='rate_rule_not_negative'), models.CheckConstraint(condition=models.Q(models.Q(('kind', 'discount_pct'), _negated=True), ('value__lte', 100), _connector='OR'), name='rate_rule_discount_at_most_all'), models.CheckConstraint(condition=models.Q(('valid_to__isnull', True), ('valid_to__gte', models.F('valid_from')), _connector='OR'), name='rate_rule_ends')],
            },
        ),
        migrations.CreateModel(
            name='ReratingRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('record_id', models.UUIDField()),
                ('occurred_at', models.DateTimeField()),
                ('provider', models.TextField()),
                ('model', models.TextField()),
                ('list_delta', billing.models.fields.AmountField()),
                ('provider_delta', billing.models.fields.AmountField()),
                ('contracted_delta', billing.models.fields.AmountField()),
                ('billed_delta', billing.models.fields.AmountField()),
                ('lines', models.JSONField(help_text='the lines of the correction: the old taken back, the new put in their place')),
                ('saving', models.JSONField(default=dict)),
                ('correction_id', models.UUIDField(help_text='the ledger row that books the difference, once approved')),
                ('rerating', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rows', to='billing.rerating')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ('occurred_at', 'record_id'),
                'constraints': [models.UniqueConstraint(fields=('rerating', 'record_id'), name='rerating_row_once')],
            },
        ),
        migrations.AddConstraint(
            model_name='statement',
            constraint=models.UniqueConstraint(fields=('tenant', 'number'), name='statement_number_unique'),
        ),
        migrations.AddConstraint(
            model_name='statement',
            constraint=models.CheckConstraint(condition=models.Q(('number__gte', 1)), name='statement_number_from_one'),
        ),
        migrations.AddConstraint(
            model_name='statementfile',
            constraint=models.UniqueConstraint(fields=('statement', 'format'), name='statement_file_unique'),
        ),
        migrations.AddConstraint(
            model_name='statementline',
            constraint=models.UniqueConstraint(fields=('statement', 'line_no'), name='statement_line_unique'),
        ),
        migrations.RunSQL(functions.sql_of("gates")),
        migrations.RunSQL((Path(__file__).parent / "sql" / "closing.sql").read_text()),
        *[EnableRLS(table) for table in ("billing_statement", "billing_manualentry", "billing_raterule")],
        NotifyOnChange("billing_raterule", "tenant_id"),
    ]
