"""Balances that tenants paid ahead, and the entries that made them."""

import billing.models.fields
import billing.models.contracts.prepaid
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0025_entry_proposals'),
        ('tenants', '0002_rls_and_triggers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='PrepaidBalance',
            fields=[
                ('budget', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='prepaid', serialize=False, to='billing.budget')),
                ('alert_below_usd', models.JSONField(blank=True, default=list, help_text='what is left, e.g. [100, 20]: once for each, until it is topped up', validators=[billing.models.contracts.prepaid.check_levels], verbose_name='notify below, USD')),
                ('opened_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('opened_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='prepaid_balance', to='tenants.tenant')),
            ],
            options={
                'ordering': ('tenant',),
            },
        ),
        migrations.CreateModel(
            name='PrepaidEntry',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('top_up', 'paid'), ('grant', 'granted'), ('expiry', 'expired'), ('refund', 'paid back')], max_length=7)),
                ('amount_usd', billing.models.fields.AmountField(help_text='with a minus: taken from the balance')),
                ('expires_at', models.DateTimeField(blank=True, help_text='what is not used by then is lost', null=True)),
                ('reason', models.CharField(help_text="an invoice's number, or why", max_length=300)),
                ('entered_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('balance', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.prepaidbalance')),
                ('entered_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('of', models.ForeignKey(blank=True, help_text='of an expiry: of what', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.prepaidentry')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name_plural': 'prepaid entries',
                'ordering': ('-entered_at',),
                'indexes': [models.Index(fields=['balance', 'expires_at'], name='prepaid_entry_expires')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('amount_usd__gt', 0), ('kind__in', ('top_up', 'grant'))), models.Q(('amount_usd__lt', 0), ('kind__in', ('expiry', 'refund'))), _connector='OR'), name='prepaid_entry_sign'), models.CheckConstraint(condition=models.Q(models.Q(('kind', 'expiry'), ('of__isnull', False)), models.Q(models.Q(('kind', 'expiry'), _negated=True), ('of', None)), _connector='OR'), name='prepaid_expiry_of_something'), models.CheckConstraint(condition=models.Q(('expires_at', None), ('kind__in', ('top_up', 'grant')), _connector='OR'), name='prepaid_only_added_expires')],
            },
        ),
        migrations.RunSQL(
            "CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_prepaidentry"
            " FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();"
            "CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_prepaidentry EXECUTE FUNCTION billing_refuse_change();",
            "DROP TRIGGER immutable ON billing_prepaidentry; DROP TRIGGER no_truncate ON billing_prepaidentry;",
        ),
        EnableRLS("billing_prepaidbalance"),
        EnableRLS("billing_prepaidentry"),
    ]
