"""Envelopes: budgets of single runs, which come and go."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp, NotifyOnChange

OF_ALL = NotifyOnChange("billing_budget")


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0008_sessions_and_runs"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name='RunEnvelope',
            fields=[
                ('budget', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='envelope', serialize=False, to='billing.budget')),
                ('owner', models.CharField(help_text="who is known to call: a key's person, else the key", max_length=220)),
                ('user', models.CharField(blank=True, default='', help_text="whom the key's calls name", max_length=200)),
                ('run', models.CharField(help_text='as the header names it, or the session', max_length=200)),
                ('opened_by', models.CharField(choices=[('session', 'a session'), ('run', "a run's first call"), ('asked', 'a request'), ('person', 'a person')], max_length=7)),
                ('opened_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('is_open', models.BooleanField(default=True)),
                ('own_raises', models.PositiveSmallIntegerField(db_default=0, default=0, help_text="by whose run it is, without anybody's leave")),
            ],
            options={
                'ordering': ('-opened_at',),
                'verbose_name': 'envelope',
            },
        ),
        migrations.RemoveConstraint(
            model_name='budget',
            name='budget_unique_while_active',
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('is_active', True), models.Q(('scope', 'run'), _negated=True)), fields=('tenant', 'scope', 'value', 'unit', 'period'), name='budget_unique_while_active'),
        ),
        migrations.AddField(
            model_name='runenvelope',
            name='tenant',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddIndex(
            model_name='runenvelope',
            index=models.Index(fields=['tenant', '-opened_at'], name='envelope_of_tenant'),
        ),
        migrations.AddIndex(
            model_name='runenvelope',
            index=models.Index(condition=models.Q(('is_open', True)), fields=['expires_at'], name='envelope_open'),
        ),
        migrations.AddConstraint(
            model_name='runenvelope',
            constraint=models.UniqueConstraint(condition=models.Q(('is_open', True)), fields=('tenant', 'owner', 'user', 'run'), name='envelope_once_while_open'),
        ),
        EnableRLS("billing_runenvelope"),
        GrantApp("billing_runenvelope", "SELECT"),
        # no worker has to read a tenant's configuration anew because a session began
        migrations.RunSQL(OF_ALL.backwards(), OF_ALL.forwards()),
        NotifyOnChange("billing_budget", rows="scope <> 'run'"),
    ]
