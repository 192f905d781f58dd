"""The functions that move money, as they stand in billing/functions."""

from django.db import migrations

from billing import functions

# of databases that were made before shards
FORMER = (
    "billing_ensure_windows(bigint[], text[], timestamptz[], timestamptz[])",
    "billing_admit(jsonb, bigint[], int[], int[], numeric[])",
)


class Migration(migrations.Migration):
    dependencies = [("billing", "0041_operator_alerts")]

    operations = [
        *[migrations.RunSQL(f"DROP FUNCTION IF EXISTS {name}", migrations.RunSQL.noop) for name in FORMER],
        *functions.define(),
    ]
