"""How tenants divide shared cost among their cost centres, and the chargebacks of closed months."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0020_shared_envelopes'),
        ('tenants', '0007_allocation'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ChargebackSheet',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('content', models.BinaryField(help_text='JSON')),
                ('sha256', models.CharField(max_length=64)),
                ('made_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('statement', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='chargeback_sheet', to='billing.statement')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
        ),
        migrations.CreateModel(
            name='HistoricalSplitRule',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('name', models.CharField(help_text='as chargebacks name what it moves', max_length=100)),
                ('place', models.PositiveSmallIntegerField(default=100, help_text='a cost that several rules name is of the one with the lowest')),
                ('source', models.CharField(choices=[('cost_center', 'all of a cost centre'), ('project', 'all of a project'), ('tag', 'all with a tag'), ('unallocated', 'calls without a cost centre'), ('credits', 'credits without a cost centre'), ('fees', 'adjustments without a cost centre')], max_length=11)),
                ('tag', models.CharField(blank=True, default='', help_text="the tag's name", max_length=100)),
                ('value', models.CharField(blank=True, default='', help_text='of the cost centre, project or tag', max_length=200)),
                ('method', models.CharField(choices=[('even', 'in equal parts'), ('proportional', 'in proportion to their own cost'), ('fixed', 'in fixed percentages')], max_length=12)),
                ('shares', models.JSONField(blank=True, default=list, help_text='cost centres, with percentages where they are fixed; none: all that have cost of their own')),
                ('first_month', models.CharField(max_length=7, validators=[django.core.validators.RegexValidator('^[1-9][0-9]{3}-(0[1-9]|1[0-2])$', 'a month such as 2026-11')])),
                ('last_month', models.CharField(blank=True, default='', max_length=7, validators=[django.core.validators.RegexValidator('^[1-9][0-9]{3}-(0[1-9]|1[0-2])$', 'a month such as 2026-11')])),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('created_by', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'historical split rule',
                'verbose_name_plural': 'historical split rules',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='SplitRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='as chargebacks name what it moves', max_length=100)),
                ('place', models.PositiveSmallIntegerField(default=100, help_text='a cost that several rules name is of the one with the lowest')),
                ('source', models.CharField(choices=[('cost_center', 'all of a cost centre'), ('project', 'all of a project'), ('tag', 'all with a tag'), ('unallocated', 'calls without a cost centre'), ('credits', 'credits without a cost centre'), ('fees', 'adjustments without a cost centre')], max_length=11)),
                ('tag', models.CharField(blank=True, default='', help_text="the tag's name", max_length=100)),
                ('value', models.CharField(blank=True, default='', help_text='of the cost centre, project or tag', max_length=200)),
                ('method', models.CharField(choices=[('even', 'in equal parts'), ('proportional', 'in proportion to their own cost'), ('fixed', 'in fixed percentages')], max_length=12)),
                ('shares', models.JSONField(blank=True, default=list, help_text='cost centres, with percentages where they are fixed; none: all that have cost of their own')),
                ('first_month', models.CharField(max_length=7, validators=[django.core.validators.RegexValidator('^[1-9][0-9]{3}-(0[1-9]|1[0-2])$', 'a month such as 2026-11')])),
                ('last_month', models.CharField(blank=True, default='', max_length=7, validators=[django.core.validators.RegexValidator('^[1-9][0-9]{3}-(0[1-9]|1[0-2])$', 'a month such as 2026-11')])),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='split_rules', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant', 'place', 'pk'),
                'constraints': [models.CheckConstraint(condition=models.Q(('source__in', ('cost_center', 'project', 'tag', 'unallocated', 'credits', 'fees'))), name='split_rule_source_known'), models.CheckConstraint(condition=models.Q(('method__in', ('even', 'proportional', 'fixed'))), name='split_rule_method_known'), models.CheckConstraint(condition=models.Q(('last_month', ''), ('last_month__gte', models.F('first_month')), _connector='OR'), name='split_rule_months_in_order')],
            },
        ),
        migrations.AlterField(
            "usagesum",
            "dimension",
            models.CharField(
                choices=[
                    ("total", "total"),
                    ("model", "model"),
                    ("user", "user"),
                    ("feature", "feature"),
                    ("key", "key"),
                    ("tier", "tier"),
                    ("missing", "missing tags"),
                ],
                max_length=7,
            ),
        ),
        EnableRLS("billing_splitrule"),
        EnableRLS("billing_chargebacksheet"),
        migrations.RunSQL(
            """
            CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_chargebacksheet
                FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
            CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_chargebacksheet EXECUTE FUNCTION billing_refuse_change();
            CREATE TRIGGER only_while_closing AFTER INSERT ON billing_chargebacksheet REFERENCING NEW TABLE AS new_rows
                FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();
            """,
            migrations.RunSQL.noop,
        ),
    ]
