"""Why a price was superseded, and by whom: a price that was to come may be called off."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from billing import functions


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0045_stalls_and_partitions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="pricerow",
            name="superseded_reason",
            field=models.TextField(blank=True, default="", editable=False),
        ),
        migrations.AddField(
            model_name="pricerow",
            name="superseded_by",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        *functions.define(),
    ]
