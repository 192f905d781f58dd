"""Agreements that wait for another person."""

import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0032_read_chargebacks'),
        ('tenants', '0009_key_rights'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='AgreementProposal',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('prepaid_open', 'new prepaid balance'), ('prepaid_add', 'top-up'), ('prepaid_pay_back', 'paying back'), ('commitment', 'minimum commitment'), ('commitment_end', 'end of a commitment'), ('rate_rule', 'rate rule'), ('rate_rule_end', 'end of a rate rule'), ('currency_rate', 'currency rate'), ('currency_rates', 'currency rates')], max_length=16)),
                ('summary', models.CharField(max_length=300)),
                ('arguments', models.JSONField(default=dict)),
                ('status', models.CharField(choices=[('proposed', 'proposed'), ('done', 'approved and written'), ('rejected', 'rejected')], default='proposed', max_length=8)),
                ('proposed_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('proposed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, help_text='empty: rates between currencies', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'proposed agreement',
                'ordering': ('-proposed_at',),
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('decided_at', None), ('status', 'proposed')), models.Q(models.Q(('status', 'proposed'), _negated=True), ('decided_at__isnull', False)), _connector='OR'), name='agreement_proposal_decided')],
            },
        ),
        EnableRLS("billing_agreementproposal"),
    ]
