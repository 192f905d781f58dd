"""Who vouches for an entry: end users, where a key names them. Entries of before are vouched for by their keys."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models

COPY_KEYS = """
UPDATE caching_entry SET vouchers = key_id || confirmed_by WHERE key_id IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [("caching", "0006_would_hit_labels")]

    operations = [
        migrations.AddField(
            model_name="cacheentry",
            name="vouchers",
            field=ArrayField(
                base_field=models.BigIntegerField(), blank=True, db_default=[], default=list, editable=False, size=None
            ),
        ),
        migrations.RunSQL(COPY_KEYS, migrations.RunSQL.noop),
    ]
