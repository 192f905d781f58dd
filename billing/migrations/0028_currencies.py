"""Currencies of tenants, and the rates by which their statements are converted."""

import billing.models.contracts.currencies
import billing.models.fields
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.rls import ReserveTriggerFunctions


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0027_commitments'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        ReserveTriggerFunctions("billing_rate_law"),
        migrations.AddField(
            model_name='billingdetails',
            name='currency',
            field=models.CharField(default='USD', help_text='of the next statements; prices, budgets and the ledger stay in USD', max_length=3, validators=[billing.models.contracts.currencies.check_currency]),
        ),
        migrations.AddField(
            model_name='historicalbillingdetails',
            name='currency',
            field=models.CharField(default='USD', help_text='of the next statements; prices, budgets and the ledger stay in USD', max_length=3, validators=[billing.models.contracts.currencies.check_currency]),
        ),
        migrations.AddField(
            model_name='statement',
            name='fx_day',
            field=models.DateField(blank=True, help_text='of the rate', null=True),
        ),
        migrations.AddField(
            model_name='statement',
            name='fx_source',
            field=models.CharField(blank=True, default='', help_text='of the rate', max_length=120),
        ),
        migrations.CreateModel(
            name='CurrencyRate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('base', models.CharField(max_length=3, validators=[billing.models.contracts.currencies.check_currency])),
                ('quote', models.CharField(max_length=3, validators=[billing.models.contracts.currencies.check_currency])),
                ('rate', billing.models.fields.AmountField(help_text='units of the quote for one of the base')),
                ('source', models.CharField(help_text='who says so, e.g. ECB', max_length=100)),
                ('recorded_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('superseded_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('recorded_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('-day', 'base', 'quote'),
                'constraints': [models.UniqueConstraint(condition=models.Q(('superseded_at', None)), fields=('day', 'base', 'quote'), name='currency_rate_once'), models.CheckConstraint(condition=models.Q(('rate__gt', 0)), name='currency_rate_positive'), models.CheckConstraint(condition=models.Q(('base', models.F('quote')), _negated=True), name='currency_rate_of_two')],
            },
        ),
        migrations.RunSQL(
            "CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_currencyrate"
            " FOR EACH ROW EXECUTE FUNCTION billing_rate_law();"
            "CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_currencyrate EXECUTE FUNCTION billing_refuse_change();",
            "DROP TRIGGER immutable ON billing_currencyrate; DROP TRIGGER no_truncate ON billing_currencyrate;",
        ),
    ]
