"""Settlements wait for no month that is being closed; partitions are made by whoever may call the function."""

from django.db import migrations

from billing import functions

PARTITIONS = """
ALTER FUNCTION billing_ensure_partition(date) SECURITY DEFINER;
ALTER FUNCTION billing_guard_partition(text, text) SECURITY DEFINER;
REVOKE ALL ON FUNCTION billing_ensure_partition(date), billing_guard_partition(text, text) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0044_budgets_of_the_platform")]

    operations = [*functions.define(), migrations.RunSQL(PARTITIONS, migrations.RunSQL.noop)]
