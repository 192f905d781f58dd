"""The few rows of the ledger that are about answers bought ahead of time are found without reading the others."""

from django.db import migrations

INDEX = """
CREATE INDEX usagerecord_refresh ON billing_usagerecord (tenant_id, occurred_at)
WHERE cache_state = 'refresh' OR reason = 'refreshed ahead of time'
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0006_window_now")]

    operations = [migrations.RunSQL(INDEX, "DROP INDEX usagerecord_refresh")]
