"""Alerts of the operators, who are no tenant; and which backdated prices were looked at."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0040_shards"),
        ('tenants', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='PriceCheck',
            fields=[
                ('price', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='+', serialize=False, to='billing.pricerow')),
                ('checked_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='alertchannel',
            name='channel_name_unique',
        ),
        migrations.RemoveConstraint(
            model_name='alertevent',
            name='alert_event_once',
        ),
        migrations.AlterField(
            model_name='alertchannel',
            name='tenant',
            field=models.ForeignKey(blank=True, help_text='empty: the operators', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='alert_channels', to='tenants.tenant'),
        ),
        migrations.AlterField(
            model_name='alertevent',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='alert_events', to='tenants.tenant'),
        ),
        migrations.AddConstraint(
            model_name='alertchannel',
            constraint=models.UniqueConstraint(fields=('tenant', 'name'), name='channel_name_unique', nulls_distinct=False),
        ),
        migrations.AddConstraint(
            model_name='alertevent',
            constraint=models.UniqueConstraint(fields=('tenant', 'metric', 'subject_key', 'window_key', 'threshold'), name='alert_event_once', nulls_distinct=False),
        ),
        migrations.AddField(
            model_name='pricecheck',
            name='rerating',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='billing.rerating'),
        ),
    ]
