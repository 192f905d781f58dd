"""The list cost of a session counts each request once, as everywhere else: days with sessions are summed again."""

from django.db import migrations

MARK = """
INSERT INTO billing_rollupdirty (tenant_id, day)
SELECT DISTINCT tenant_id, (hour AT TIME ZONE 'UTC')::date FROM billing_agenthour
"""


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0018_missing_tags"),
    ]

    operations = [
        migrations.RunSQL(MARK, migrations.RunSQL.noop),
    ]
