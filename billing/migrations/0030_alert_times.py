"""Plain words for when an alert was seen, and when it ends."""

import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0029_gl_accounts'),
    ]

    operations = [
        migrations.AlterField(
            model_name='alertevent',
            name='ends_at',
            field=models.DateTimeField(blank=True, help_text='when it is resolved by itself, unless it is seen again', null=True, verbose_name='ends by itself'),
        ),
        migrations.AlterField(
            model_name='alertevent',
            name='fired_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='first seen'),
        ),
        migrations.AlterField(
            model_name='alertevent',
            name='last_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=django.utils.timezone.now, verbose_name='last seen'),
        ),
        migrations.AlterField(
            model_name='alertevent',
            name='resolved_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='over since'),
        ),
    ]
