"""Minimum commitments, and what is charged of them as a kind of its own."""

import billing.models.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS

MONTH = "substr({0}, 1, 4)::int * 12 + substr({0}, 6, 2)::int"
ONE_AT_A_TIME = f"""
ALTER TABLE billing_commitment ADD CONSTRAINT commitment_one_at_a_time EXCLUDE USING gist (
    int8range(tenant_id, tenant_id, '[]') WITH &&,
    int4range({MONTH.format("first_month")}, CASE last_month WHEN '' THEN NULL ELSE {MONTH.format("last_month")} END, '[]')
    WITH &&);
"""
KINDS = """
ALTER TABLE billing_usagerecord DROP CONSTRAINT billing_usagerecord_kind_check;
ALTER TABLE billing_usagerecord ADD CONSTRAINT billing_usagerecord_kind_check CHECK (kind IN ({}));
"""
BEFORE = "'usage', 'correction', 'credit', 'adjustment'"


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0026_prepaid'),
        ('tenants', '0002_rls_and_triggers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='statementline',
            name='category',
            field=models.CharField(choices=[('usage', 'usage'), ('correction', 'correction'), ('credit', 'credit'), ('adjustment', 'adjustment'), ('commitment', 'minimum commitment'), ('rounding', 'rounding')], max_length=10),
        ),
        migrations.CreateModel(
            name='HistoricalCommitment',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('span', models.CharField(choices=[('month', 'month'), ('quarter', 'quarter'), ('year', 'year')], help_text='counted from the first month on', max_length=7, verbose_name='each')),
                ('amount_usd', billing.models.fields.AmountField(verbose_name='at least, USD')),
                ('first_month', models.CharField(help_text='YYYY-MM', max_length=7, validators=[django.core.validators.RegexValidator('^[0-9]{4}-(0[1-9]|1[0-2])$', 'a month is written as 2026-10')])),
                ('last_month', models.CharField(blank=True, default='', help_text='YYYY-MM, the last one of a span; empty: none', max_length=7, validators=[django.core.validators.RegexValidator('^[0-9]{4}-(0[1-9]|1[0-2])$', 'a month is written as 2026-10')])),
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
                'verbose_name': 'historical commitment',
                'verbose_name_plural': 'historical commitments',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='Commitment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('span', models.CharField(choices=[('month', 'month'), ('quarter', 'quarter'), ('year', 'year')], help_text='counted from the first month on', max_length=7, verbose_name='each')),
                ('amount_usd', billing.models.fields.AmountField(verbose_name='at least, USD')),
                ('first_month', models.CharField(help_text='YYYY-MM', max_length=7, validators=[django.core.validators.RegexValidator('^[0-9]{4}-(0[1-9]|1[0-2])$', 'a month is written as 2026-10')])),
                ('last_month', models.CharField(blank=True, default='', help_text='YYYY-MM, the last one of a span; empty: none', max_length=7, validators=[django.core.validators.RegexValidator('^[0-9]{4}-(0[1-9]|1[0-2])$', 'a month is written as 2026-10')])),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='commitments', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant', '-first_month'),
                'constraints': [models.CheckConstraint(condition=models.Q(('amount_usd__gt', 0)), name='commitment_of_something'), models.CheckConstraint(condition=models.Q(('last_month', ''), ('last_month__gte', models.F('first_month')), _connector='OR'), name='commitment_ends')],
            },
        ),
        migrations.RunSQL(ONE_AT_A_TIME, "ALTER TABLE billing_commitment DROP CONSTRAINT commitment_one_at_a_time;"),
        migrations.RunSQL(KINDS.format(f"{BEFORE}, 'commitment'"), KINDS.format(BEFORE)),
        EnableRLS("billing_commitment"),
    ]
