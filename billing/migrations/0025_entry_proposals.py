"""Credits and adjustments are proposed, for a subject and a month, and approved."""

import billing.models.fields
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0024_month_jobs'),
        ('tenants', '0002_rls_and_triggers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='manualentry',
            name='approved_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='manualentry',
            name='month',
            field=models.CharField(blank=True, default='', help_text='that it is for; empty: the running one', max_length=7),
        ),
        migrations.AddField(
            model_name='manualentry',
            name='subject',
            field=models.CharField(choices=[('tenant', 'the whole tenant'), ('cost_center', 'a cost centre'), ('user', 'a user')], default='tenant', max_length=11),
        ),
        migrations.AddField(
            model_name='manualentry',
            name='subject_value',
            field=models.CharField(blank=True, default='', max_length=200),
        ),
        migrations.CreateModel(
            name='EntryProposal',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, help_text='of the entry, too', primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('credit', 'credit'), ('adjustment', 'adjustment')], default='credit', max_length=10)),
                ('subject', models.CharField(choices=[('tenant', 'the whole tenant'), ('cost_center', 'a cost centre'), ('user', 'a user')], default='tenant', max_length=11, verbose_name='for')),
                ('subject_value', models.CharField(blank=True, default='', help_text='cost centre or user, as the ledger has it', max_length=200, verbose_name='which')),
                ('month', models.CharField(blank=True, default='', help_text='YYYY-MM that it is for; empty: the running one', max_length=7)),
                ('amount_usd', billing.models.fields.AmountField(help_text='a credit: what is given back, above 0; an adjustment: with a minus if less is charged', verbose_name='amount, USD')),
                ('reason', models.TextField(help_text='the statement shows it', max_length=500)),
                ('status', models.CharField(choices=[('proposed', 'proposed'), ('booked', 'booked'), ('rejected', 'rejected')], default='proposed', max_length=8)),
                ('proposed_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('proposed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'credit or adjustment',
                'verbose_name_plural': 'credits and adjustments',
                'ordering': ('-proposed_at',),
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('decided_at', None), ('status', 'proposed')), models.Q(models.Q(('status', 'proposed'), _negated=True), ('decided_at__isnull', False)), _connector='OR'), name='entry_proposal_decided'), models.CheckConstraint(condition=models.Q(models.Q(('subject', 'tenant'), ('subject_value', '')), models.Q(models.Q(('subject', 'tenant'), _negated=True), models.Q(('subject_value', ''), _negated=True)), _connector='OR'), name='entry_proposal_subject_named'), models.CheckConstraint(condition=models.Q(models.Q(('amount_usd__gt', 0), ('kind', 'credit')), models.Q(('kind', 'adjustment'), models.Q(('amount_usd', 0), _negated=True)), _connector='OR'), name='entry_proposal_amount')],
            },
        ),
        EnableRLS("billing_entryproposal"),
    ]
