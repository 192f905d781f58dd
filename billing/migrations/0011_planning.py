"""How good forecasts have been, and the events that tenants post; the gateway writes the latter."""

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0010_usage_sums"),
        ('tenants', '0003_people'),
    ]

    operations = [
        migrations.CreateModel(
            name='ForecastTrial',
            fields=[
                ('tenant', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='tenants.tenant')),
                ('measured_at', models.DateTimeField()),
                ('looks', models.PositiveSmallIntegerField(help_text='forecasts that were made again')),
                ('covered', models.PositiveSmallIntegerField(help_text='whose 90 % interval had the result')),
                ('below', models.PositiveSmallIntegerField(help_text='results below the interval')),
                ('above', models.PositiveSmallIntegerField(help_text='results above it')),
                ('error_percent', models.DecimalField(decimal_places=1, help_text='the median error of the middle', max_digits=6, null=True)),
            ],
            options={
                'ordering': ('tenant',),
                'constraints': [models.CheckConstraint(condition=models.Q(('looks', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('covered'), '+', models.F('below')), '+', models.F('above')))), name='forecast_trial_adds_up')],
            },
        ),
        migrations.CreateModel(
            name='FeatureDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(help_text='in UTC')),
                ('name', models.CharField(max_length=100)),
                ('feature', models.CharField(blank=True, db_default='', default='', max_length=200)),
                ('events', models.BigIntegerField()),
                ('quantity', models.BigIntegerField()),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ('-day', 'name', 'feature'),
                'constraints': [models.UniqueConstraint(fields=('tenant', 'day', 'name', 'feature'), name='feature_day_unique'), models.CheckConstraint(condition=models.Q(('events__gt', 0), ('quantity__gte', 0)), name='feature_day_counts')],
            },
        ),
        migrations.CreateModel(
            name='FeatureEvent',
            fields=[
                ('pk', models.CompositePrimaryKey('tenant_id', 'event_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('event_id', models.CharField(max_length=100)),
                ('day', models.DateField(help_text='in UTC')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(fields=['day'], name='feature_event_day')],
            },
        ),
        EnableRLS("billing_forecasttrial"),
        EnableRLS("billing_featureevent"),
        EnableRLS("billing_featureday"),
        GrantApp("billing_forecasttrial", "SELECT"),
        GrantApp("billing_featureevent", "SELECT, INSERT"),
        GrantApp("billing_featureday", "SELECT, INSERT, UPDATE"),
    ]
