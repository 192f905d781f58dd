"""Ledger rows say how far their amounts are known: exact, estimated or unread.

Of those that are there, the estimated ones say so by their source, and those without a price are bounds.
"""

from django.db import migrations

from billing import functions

COLUMNS = """
ALTER TABLE billing_usagerecord
    ADD COLUMN certainty text NOT NULL DEFAULT 'exact' CHECK (certainty IN ('exact', 'estimated', 'unread')),
    ADD COLUMN reading jsonb;
"""
# The sums of what is not exact, and the list of what nobody has explained yet.
INDEX = "CREATE INDEX usagerecord_unread ON billing_usagerecord (occurred_at) WHERE certainty = 'unread'"
BACKFILL = """
DO $$
DECLARE
    guarded regclass;
BEGIN
    FOR guarded IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'billing_usagerecord'::regclass LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER append_only', guarded);
        EXECUTE format(
            'UPDATE %s SET certainty = CASE WHEN price_status = ''unpriced'' THEN ''unread'' ELSE ''estimated'' END
             WHERE price_status = ''unpriced'' OR usage_source = ''estimated''', guarded);
        EXECUTE format('ALTER TABLE %s ENABLE TRIGGER append_only', guarded);
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0048_readiness")]

    operations = [
        migrations.RunSQL(COLUMNS, migrations.RunSQL.noop),
        migrations.RunSQL(BACKFILL, migrations.RunSQL.noop),
        migrations.RunSQL(INDEX, migrations.RunSQL.noop),
        *functions.define(),
    ]
