"""What was learned about estimates, and tenants' requests for more of a budget."""

from pathlib import Path

import billing.models.fields
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0010_closing"),
        ('tenants', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='EstimateAccuracy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.TextField()),
                ('model', models.TextField()),
                ('shape', models.CharField(choices=[('text', 'text'), ('tools', 'with tools or a schema'), ('media', 'with images, audio or files')], max_length=5)),
                ('samples', models.BigIntegerField(help_text="calls that were answered and billed by the provider's figures")),
                ('learned_from', models.BigIntegerField(help_text='those whose prompt was long enough to learn from')),
                ('input_factor', models.DecimalField(decimal_places=4, help_text='input tokens are held times this', max_digits=6)),
                ('input_ratio_p50', models.DecimalField(decimal_places=4, help_text='actual / counted', max_digits=12, null=True)),
                ('input_ratio_high', models.DecimalField(decimal_places=4, help_text='the same, p99.5', max_digits=12, null=True)),
                ('hold_usd', billing.models.fields.AmountField(help_text='held altogether')),
                ('billed_usd', billing.models.fields.AmountField(help_text='billed altogether')),
                ('hold_ratio_p50', models.DecimalField(decimal_places=4, help_text='held / billed', max_digits=16, null=True)),
                ('short', models.BigIntegerField(help_text='calls that came out dearer than their hold')),
                ('output_p50', models.BigIntegerField()),
                ('output_p95', models.BigIntegerField()),
                ('refreshed_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'estimate',
                'ordering': ('provider', 'model', 'shape'),
                'constraints': [models.UniqueConstraint(fields=('provider', 'model', 'shape'), name='estimate_accuracy_unique'), models.CheckConstraint(condition=models.Q(('input_factor__gte', '0.5'), ('input_factor__lte', 4)), name='estimate_factor_bounded')],
            },
        ),
        migrations.CreateModel(
            name='RaiseRequest',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('extra_amount', billing.models.fields.AmountField(help_text="in the budget's unit, on top of its limit")),
                ('ends_at', models.DateTimeField(help_text='until when it is wanted')),
                ('reason', models.CharField(max_length=300)),
                ('state', models.CharField(choices=[('pending', 'pending'), ('approved', 'approved'), ('refused', 'refused'), ('expired', 'expired')], default='pending', max_length=8)),
                ('key_id', models.BigIntegerField(blank=True, help_text='the API key that asked', null=True)),
                ('end_user', models.CharField(blank=True, default='', help_text='the end user who asked', max_length=200)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('expires_at', models.DateTimeField(help_text='undecided until then, it is over')),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decision_reason', models.CharField(blank=True, default='', max_length=300)),
                ('budget', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='raise_requests', to='billing.budget')),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('granted', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='request', to='billing.budgetraise')),
                ('requested_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='raise_requests', to='tenants.tenant')),
            ],
            options={
                'ordering': ('-created_at',),
                'indexes': [models.Index(condition=models.Q(('state', 'pending')), fields=['expires_at'], name='raise_request_pending'), models.Index(fields=['tenant', '-created_at'], name='raise_request_of_tenant')],
                'constraints': [models.CheckConstraint(condition=models.Q(('extra_amount__gt', 0)), name='raise_request_positive'), models.CheckConstraint(condition=models.Q(models.Q(('granted__isnull', False), ('state', 'approved')), models.Q(models.Q(('state', 'approved'), _negated=True), ('granted__isnull', True)), _connector='OR'), name='raise_request_granted'), models.CheckConstraint(condition=models.Q(models.Q(('decided_at__isnull', False), ('decided_by__isnull', False), ('state__in', ('approved', 'refused'))), models.Q(('decided_at__isnull', True), ('decided_by__isnull', True), ('state__in', ('pending', 'expired'))), _connector='OR'), name='raise_request_decided')],
            },
        ),
        migrations.RunSQL(
            (Path(__file__).parent / "sql" / "estimates.sql").read_text(), "DROP VIEW billing_settled_estimates"
        ),
        EnableRLS("billing_raiserequest"),
        GrantApp("billing_raiserequest", "SELECT"),
    ]
