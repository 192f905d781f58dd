"""Four eyes of a close: who asked, who confirmed."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0035_period_sums'),
        ('tenants', '0002_rls_and_triggers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='billingperiod',
            name='close_asked_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='asked to close'),
        ),
        migrations.AddField(
            model_name='billingperiod',
            name='close_asked_by',
            field=models.ForeignKey(blank=True, help_text='empty: the schedule', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='asked by'),
        ),
        migrations.AddField(
            model_name='billingperiod',
            name='close_confirmed_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='confirmed'),
        ),
        migrations.AddField(
            model_name='billingperiod',
            name='close_confirmed_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='confirmed by'),
        ),
        migrations.AddField(
            model_name='billingperiod',
            name='close_reason',
            field=models.CharField(blank=True, db_default='', default='', help_text='why before its time, as it was asked', max_length=300),
        ),
        migrations.AddConstraint(
            model_name='billingperiod',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('close_confirmed_at', None), ('close_confirmed_by', None)), models.Q(('close_asked_at__isnull', False), ('close_confirmed_at__isnull', False), ('close_confirmed_by__isnull', False), models.Q(('close_asked_by', None), models.Q(('close_asked_by', models.F('close_confirmed_by')), _negated=True), _connector='OR')), _connector='OR'), name='period_close_by_two'),
        ),
    ]
