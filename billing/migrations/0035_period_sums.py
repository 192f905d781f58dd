"""Sums of periods along one dimension, which triggers keep. The days are summed anew, so that none is counted by halves."""

import billing.models.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from tenants.rls import EnableRLS, ReserveTriggerFunctions

SUM_ANEW = """
INSERT INTO billing_rollupdirty (tenant_id, day) SELECT DISTINCT tenant_id, day FROM billing_usagedaily;
TRUNCATE billing_usagedaily;
"""
TRIGGERS = """
CREATE TRIGGER keep_sums_of_new AFTER INSERT ON billing_usagedaily REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION billing_keep_period_sums('1');
CREATE TRIGGER keep_sums_of_gone AFTER DELETE ON billing_usagedaily REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION billing_keep_period_sums('-1');
CREATE TRIGGER keep_sums_of_former AFTER UPDATE ON billing_usagedaily REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION billing_keep_period_sums('-1');
CREATE TRIGGER keep_sums_of_latter AFTER UPDATE ON billing_usagedaily REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION billing_keep_period_sums('1');
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0034_set_off'),
        ('tenants', '0002_rls_and_triggers'),
    ]

    operations = [
        migrations.CreateModel(
            name='PeriodSum',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('period_id', models.BigIntegerField()),
                ('dimension', models.TextField()),
                ('provider', models.TextField(blank=True, default='', help_text='of a model')),
                ('value', models.TextField(blank=True, default='')),
                ('last_day', models.DateField(help_text='in UTC, with a row of the value', null=True)),
                ('refreshed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('records', models.BigIntegerField(help_text='rows of the ledger; none: nothing is left of the value')),
                ('requests', models.BigIntegerField()),
                ('calls', models.BigIntegerField()),
                ('further_calls', models.BigIntegerField()),
                ('own_calls', models.BigIntegerField()),
                ('cache_hits', models.BigIntegerField()),
                ('estimated_requests', models.BigIntegerField()),
                ('unallocated_requests', models.BigIntegerField()),
                ('input_tokens', models.BigIntegerField()),
                ('cache_read_tokens', models.BigIntegerField()),
                ('cache_write_tokens', models.BigIntegerField()),
                ('output_tokens', models.BigIntegerField()),
                ('saved_tokens', models.BigIntegerField()),
                ('list_cost_usd', billing.models.fields.AmountField()),
                ('saved_usd', billing.models.fields.AmountField()),
                ('contracted_cost_usd', billing.models.fields.AmountField()),
                ('corrections_usd', billing.models.fields.AmountField()),
                ('adjustments_usd', billing.models.fields.AmountField()),
                ('credits_usd', billing.models.fields.AmountField()),
                ('commitments_usd', billing.models.fields.AmountField()),
                ('billed_cost_usd', billing.models.fields.AmountField()),
                ('exact_usd', billing.models.fields.AmountField()),
                ('estimated_usd', billing.models.fields.AmountField()),
                ('unread_usd', billing.models.fields.AmountField()),
                ('least_usd', billing.models.fields.AmountField()),
                ('most_usd', billing.models.fields.AmountField()),
                ('unallocated_usd', billing.models.fields.AmountField()),
            ],
        ),
        migrations.RemoveIndex(
            model_name='usagedaily',
            name='usage_daily_tenant_period',
        ),
        migrations.AlterField(
            model_name='usagesum',
            name='dimension',
            field=models.CharField(choices=[('total', 'total'), ('model', 'model'), ('user', 'user'), ('feature', 'feature'), ('key', 'key'), ('tier', 'tier'), ('missing', 'missing tags'), ('cache', 'state of the cache'), ('processing', 'processing'), ('project', 'project'), ('team', 'cost centre'), ('provider', 'provider'), ('priced', 'provider, model and processing')], max_length=10),
        ),
        *(
            migrations.AddField("usagesum", name, models.BigIntegerField(db_default=0))
            for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
        ),
        migrations.AddIndex(
            model_name='usagedaily',
            index=models.Index(fields=['tenant', 'user_id', 'day'], name='usage_daily_tenant_user'),
        ),
        migrations.AddField(
            model_name='periodsum',
            name='tenant',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddIndex(
            model_name='periodsum',
            index=models.Index(models.F('tenant'), models.F('period_id'), models.F('dimension'), models.OrderBy(models.F('billed_cost_usd'), descending=True), models.OrderBy(models.F('saved_usd'), descending=True), condition=models.Q(('records', 0), _negated=True), name='period_sum_dearest'),
        ),
        migrations.AddConstraint(
            model_name='periodsum',
            constraint=models.UniqueConstraint(fields=('tenant', 'period_id', 'dimension', 'value', 'provider'), name='period_sum_once'),
        ),
        EnableRLS("billing_periodsum"),
        migrations.RunSQL(SUM_ANEW, migrations.RunSQL.noop),
        ReserveTriggerFunctions("billing_keep_period_sums"),
        migrations.RunSQL(TRIGGERS, "".join(
            f"DROP TRIGGER keep_sums_of_{rows} ON billing_usagedaily;" for rows in ("new", "gone", "former", "latter")
        )),
    ]
